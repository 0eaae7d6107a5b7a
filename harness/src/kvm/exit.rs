//! How KVM_RUN ended a case, as a number: the argument of an [`abi::hyp::End`] on KVM, where a hypervisor has ESR_EL2.

use std::fmt::{self, Display, Formatter};

use super::complaint;

/// What KVM_RUN gave that ended a case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Gave {
    /// The call failed: an `errno`.
    Error(i32),
    /// It returned, for a reason that nobody asked for.
    Exit {
        /// `kvm_run.exit_reason`: a `KVM_EXIT_*` of include/uapi/linux/kvm.h.
        reason: u32,
        /// What came with it: an address, the number of a hypercall, the type of an event.
        with: u64,
    },
}

impl Gave {
    /// Bits of [`Self::Exit`]'s `with`: an address has no more.
    const WITH: u32 = 54;
    /// Marks an exit. It is one of ESR_ELx[63:56], which are RES0, so no syndrome is taken for one.
    const EXIT: u64 = 1 << 62;

    /// The number: negative for an `errno`, as ioctls have it in the kernel; else `EXIT`, in bits 61:54 the reason, and
    /// below them what came with it.
    #[must_use]
    pub fn to_arg(self) -> u64 {
        match self {
            Self::Error(errno) => i64::from(errno).wrapping_neg().cast_unsigned(),
            Self::Exit { reason, with } => {
                let with = with & ((1 << Self::WITH) - 1);
                Self::EXIT | (u64::from(reason) & 0xff) << Self::WITH | with
            }
        }
    }

    /// What a number stands for; none for a syndrome.
    #[must_use]
    pub fn from_arg(arg: u64) -> Option<Self> {
        let errno = i32::try_from(arg.cast_signed().wrapping_neg()).ok().filter(|errno| *errno > 0);
        let exit = || {
            let reason = u32::try_from(arg >> Self::WITH & 0xff).ok()?;
            let is_exit = arg & (Self::EXIT | 1 << 63) == Self::EXIT;
            is_exit.then_some(Self::Exit { reason, with: arg & ((1 << Self::WITH) - 1) })
        };
        errno.map(Self::Error).or_else(exit)
    }
}

/// `errno 5 (EIO)`, `exit reason 24 (KVM_EXIT_SYSTEM_EVENT) with 0x2`.
impl Display for Gave {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Error(errno) => write!(f, "errno {errno} ({})", complaint::errno(errno)),
            Self::Exit { reason, with } => {
                write!(f, "exit reason {reason}")?;
                if let Some((_, name)) = REASONS.iter().find(|(known, _)| *known == reason) {
                    write!(f, " (KVM_EXIT_{name})")?;
                }
                if with == 0 { Ok(()) } else { write!(f, " with {with:#x}") }
            }
        }
    }
}

/// The reasons to exit that an arm64 KVM has (include/uapi/linux/kvm.h).
const REASONS: [(u32, &str); 14] = [
    (0, "UNKNOWN"),
    (3, "HYPERCALL"),
    (4, "DEBUG"),
    (6, "MMIO"),
    (8, "SHUTDOWN"),
    (9, "FAIL_ENTRY"),
    (10, "INTR"),
    (17, "INTERNAL_ERROR"),
    (24, "SYSTEM_EVENT"),
    (28, "ARM_NISV"),
    (31, "DIRTY_RING_FULL"),
    (39, "MEMORY_FAULT"),
    (41, "ARM_SEA"),
    (42, "ARM_LDST64B"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errno_is_no_exit_and_a_syndrome_neither() {
        let exit = |reason, with| Gave::Exit { reason, with };
        for (gave, words) in [
            (Gave::Error(5), "errno 5 (EIO)"),
            (exit(5, 0), "exit reason 5"),
            (exit(17, 0), "exit reason 17 (KVM_EXIT_INTERNAL_ERROR)"),
            (exit(24, 2), "exit reason 24 (KVM_EXIT_SYSTEM_EVENT) with 0x2"),
            (exit(6, 0x10_0000_0000), "exit reason 6 (KVM_EXIT_MMIO) with 0x1000000000"),
        ] {
            assert_eq!(Gave::from_arg(gave.to_arg()), Some(gave));
            assert_eq!(gave.to_string(), words);
        }
        assert_eq!(Gave::Error(5).to_arg(), (-5_i64).cast_unsigned());
        for esr in [0, 5, 0x9600_0046, 0xff_ffff_ffff_ffff] {
            assert_eq!(Gave::from_arg(esr), None);
        }
    }
}
