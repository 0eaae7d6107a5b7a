//! What KVM did wrong as its user sees it: not what a guest recorded, but what a VMM was answered, or found in its own
//! registers.

use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

/// A rule that KVM broke.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Complaint {
    /// The rule, `P-xx`.
    pub rule: String,
    /// What is wrong, in a clause. It is the same for the same bug, so it has no values.
    pub what: String,
    /// The call that showed it, `KVM_GET_ONE_REG of 0x6030000000100000`; empty if `what` names it.
    pub call: String,
    /// What was to be answered or found, in words; empty if `what` says it.
    pub wanted: String,
    /// What was.
    pub found: String,
    /// The value of the first register that was another than it had to be.
    pub register: Option<Changed>,
    /// The operation of the program that rang for it last.
    pub op: u64,
    /// The line of that operation's step, as far as there is one: the agent has no scenario.
    #[serde(skip)]
    pub line: Option<u32>,
}

/// A register that has not the value that it had to have.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Changed {
    /// Whose it is: an [`abi::pattern::Owner`].
    pub owner: u8,
    /// Which one, as a bit of [`abi::op::mask`]; 0 for one that has none there.
    pub register: u64,
    /// The bytes that it had to have.
    pub wanted: Vec<u8>,
    /// The bytes found.
    pub found: Vec<u8>,
}

impl Complaint {
    /// The rule of what a host kernel logs of itself, or dies of.
    pub const OF_KERNEL: &'static str = "P-26";

    /// This is wrong, under that rule.
    #[must_use]
    pub fn new(rule: &str, what: impl Into<String>) -> Self {
        Self { rule: rule.to_owned(), what: what.into(), ..Self::default() }
    }

    /// A line of the host kernel's log that tells of a bug.
    #[must_use]
    pub fn of_kernel(splat: &str) -> Self {
        Self::new(Self::OF_KERNEL, splat)
    }

    /// It was this call that showed it.
    #[must_use]
    pub fn by(self, call: impl Into<String>) -> Self {
        Self { call: call.into(), ..self }
    }

    /// What was wanted, and what came.
    #[must_use]
    pub fn wanted(self, wanted: impl Into<String>, found: impl Into<String>) -> Self {
        Self { wanted: wanted.into(), found: found.into(), ..self }
    }

    /// The first register that differs.
    #[must_use]
    pub fn changed(self, changed: Changed) -> Self {
        Self { register: Some(changed), ..self }
    }

    /// What is equal for equal failures: rule and clause, without numbers, and without the offset of a line of the kernel's log,
    /// which is another in every build.
    #[must_use]
    pub fn kind(&self) -> String {
        let what = self.what.split("+0x").next().unwrap_or_default();
        let what: String = what.chars().filter(|c| !c.is_ascii_digit()).collect();
        format!("{}: {what}", self.rule)
    }
}

impl Display for Complaint {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)?;
        match (self.found.as_str(), self.wanted.as_str()) {
            ("", _) => {}
            (found, "") => write!(f, ": {found}")?,
            (found, wanted) => write!(f, ": {found}, not {wanted}")?,
        }
        if self.call.is_empty() { Ok(()) } else { write!(f, " ({})", self.call) }
    }
}

/// The complaints, one after the other.
#[must_use]
pub fn in_words(complaints: &[Complaint]) -> String {
    complaints.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// An `errno` by its name, as api.rst has it.
#[must_use]
pub fn errno(errno: i32) -> String {
    use rustix::io::Errno;
    const NAMES: [(Errno, &str); 18] = [
        (Errno::PERM, "EPERM"),
        (Errno::NOENT, "ENOENT"),
        (Errno::INTR, "EINTR"),
        (Errno::IO, "EIO"),
        (Errno::NXIO, "ENXIO"),
        (Errno::TOOBIG, "E2BIG"),
        (Errno::NOEXEC, "ENOEXEC"),
        (Errno::BADF, "EBADF"),
        (Errno::AGAIN, "EAGAIN"),
        (Errno::NOMEM, "ENOMEM"),
        (Errno::FAULT, "EFAULT"),
        (Errno::BUSY, "EBUSY"),
        (Errno::EXIST, "EEXIST"),
        (Errno::NODEV, "ENODEV"),
        (Errno::INVAL, "EINVAL"),
        (Errno::NOSPC, "ENOSPC"),
        (Errno::NOSYS, "ENOSYS"),
        (Errno::OPNOTSUPP, "EOPNOTSUPP"),
    ];
    let name = NAMES.iter().find(|(known, _)| known.raw_os_error() == errno).map(|(_, name)| *name);
    name.map_or_else(|| std::io::Error::from_raw_os_error(errno).to_string(), str::to_owned)
}

/// The answer of a system call in words: `success`, `EINVAL`.
#[must_use]
pub fn answer(answer: Result<(), i32>) -> String {
    answer.map_or_else(errno, |()| "success".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_what_a_complaint_has() {
        let complaint = Complaint::new("P-97", "x0 as 4 bytes can be read");
        assert_eq!(complaint.to_string(), "P-97: x0 as 4 bytes can be read");
        let complaint = complaint.by("KVM_GET_ONE_REG of 0x6").wanted("EINVAL", answer(Ok(())));
        let all = "P-97: x0 as 4 bytes can be read: success, not EINVAL (KVM_GET_ONE_REG of 0x6)";
        assert_eq!(complaint.to_string(), all);
        assert_eq!(answer(Err(rustix::io::Errno::PERM.raw_os_error())), "EPERM");
    }

    #[test]
    fn a_kind_has_what_stays() {
        let of = |splat: &str| Complaint::of_kernel(splat).kind();
        let warning =
            "WARNING: arch/arm64/kvm/fpsimd.c:131 at kvm_arch_vcpu_put_fp+0xd4/0x21c, CPU#0: init/1";
        assert_eq!(of(warning), "P-26: WARNING: arch/arm/kvm/fpsimd.c: at kvm_arch_vcpu_put_fp");
        assert_eq!(of(warning), of(&warning.replace("0xd4/0x21c, CPU#0", "0xa0/0x21c, CPU#1")));
        assert_ne!(of(warning), of(&warning.replace("put_fp", "load_fp")));
        let values = Complaint::new("P-96", "z3 reads otherwise").wanted("0", "1");
        assert_eq!(values.kind(), Complaint::new("P-96", "z7 reads otherwise").kind());
    }
}
