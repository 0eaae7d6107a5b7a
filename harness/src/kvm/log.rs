//! What a host kernel's log says about the host (rule P-26).

/// How a line begins, behind its time stamp, that tells of a bug of the kernel.
const SPLATS: [&str; 9] = [
    "WARNING:",
    "BUG:",
    "kernel BUG at",
    "Internal error:",
    "Unable to handle kernel",
    "Kernel panic",
    "Bad mode in",
    "nVHE hyp panic",
    "Unexpected",
];

/// What an emulated machine that gets little of its host's CPU says: noise.
const NOISE: [&str; 6] = ["rcu", "soft lockup", "hard LOCKUP", "hung_task", "clocksource", "workqueue: "];

/// What the agent of an emulated host writes to its console before it asks KVM for anything.
pub const ASKS_KVM: &str = "holdfast: KVM is asked for its guests";

/// The first line of a kernel's log that tells of a bug, without its time stamp.
#[must_use]
pub fn splat(log: &str) -> Option<&str> {
    log.lines().map(text).find(|line| {
        SPLATS.iter().any(|splat| line.starts_with(splat) || line.contains(&format!(": {splat}")))
            && !NOISE.iter().any(|noise| line.contains(noise))
    })
}

/// Whether such a line names KVM.
#[must_use]
pub fn is_of_kvm(splat: &str) -> bool {
    splat.contains("arch/arm64/kvm/") || splat.to_ascii_lowercase().contains("hyp panic")
}

/// A line without the `[    1.234567]` that a console puts before it.
fn text(line: &str) -> &str {
    let stamped = line.trim_start().strip_prefix('[').and_then(|rest| rest.split_once("] "));
    match stamped {
        Some((stamp, text)) if stamp.chars().all(|c| c.is_ascii_digit() || c == '.' || c == ' ') => text,
        _ => line.trim_start(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bugs_are_told_from_noise() {
        let log = "random: crng init done\n[    2.123456] WARNING: CPU: 0 PID: 1 at arch/arm64/kvm/x.c:1 f+0x1/0x2\n";
        assert_eq!(splat(log), Some("WARNING: CPU: 0 PID: 1 at arch/arm64/kvm/x.c:1 f+0x1/0x2"));
        assert_eq!(splat("kvm [1]: nVHE hyp panic at: [<0>] x"), Some("kvm [1]: nVHE hyp panic at: [<0>] x"));
        assert_eq!(splat("watchdog: BUG: soft lockup - CPU#0 stuck for 26s!"), None);
        assert_eq!(splat("rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:"), None);
        assert_eq!(
            splat("[    1.0] Kernel panic - not syncing: Oops"),
            Some("Kernel panic - not syncing: Oops")
        );
        assert_eq!(splat(""), None);
        assert_eq!(splat("[[[[ ] ] BUG: at the start"), None);
    }
}
