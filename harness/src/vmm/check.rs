//! What the step `vmm` asks for: a look at the vCPU as it is, or at this thread around the next KVM_RUN.
//!
//! A check that finds something complains, and names the rule; one that cannot be made says why, and the case is
//! skipped. What it changes it puts back, so that the scenario can go on and prove that.
//!
//! | module | what |
//! | --- | --- |
//! | [`list`] | the list of registers, and ids that are not in it |
//! | [`values`] | the FP registers by value |
//! | [`lengths`] | KVM_REG_ARM64_SVE_VLS, KVM_ARM_VCPU_INIT and KVM_ARM_VCPU_FINALIZE |
//! | [`reset`] | a vCPU that was reset, by its VMM or by CPU_ON |
//! | [`mmio`], [`hypercall`] | a guest's accesses without a valid syndrome; its calls to this program |
//! | [`protected`] | a guest of a protected VM |
//! | [`host`], [`debugger`] | the thread's own registers; as a debugger writes them |
//! | [`fault`], [`signal`] | the same over page faults, and the guest's; over signals |
//! | [`sme`] | the registers of SME |
//! | [`softirqs`] | SIMD of the kernel at any moment |
//! | [`offline`] | a CPU that goes and comes back |

mod debugger;
mod fault;
mod host;
mod hypercall;
mod lengths;
mod list;
mod mmio;
mod offline;
mod protected;
mod reset;
mod signal;
mod sme;
mod softirqs;
mod values;

use abi::doorbell::Check;
use kvm_bindings::{kvm_vcpu_events, kvm_vcpu_events__bindgen_ty_1};

use super::case::Case;
use super::error::{VmError, failed};
use super::raw::{self, reg};
use super::vm::Vm;
use crate::kvm::complaint::{self, Complaint};

/// What a system call answered: nothing, or an error.
type Answer = std::result::Result<(), i32>;

impl Case<'_> {
    /// Carries out a check. Those of the thread are carried out by the next entry.
    pub(super) fn check(&mut self, check: Check, image: u64) -> Result<(), VmError> {
        // The registers are those after the access that asked.
        self.vm.settle();
        match check {
            Check::RegList => self.check_list(),
            Check::RoundTrip => self.check_round_trip(),
            Check::Values => self.check_values(image),
            Check::Write => self.write_values(image),
            Check::BadIds => {
                self.check_bad_ids();
                self.check_promises()
            }
            Check::Lengths => self.check_lengths(),
            Check::Init => self.check_init(),
            Check::Arrival => {
                self.stops_at_arrival = true;
                Ok(())
            }
            Check::Sme => {
                self.check_sme();
                Ok(())
            }
            Check::Events => self.check_events(),
            Check::MmioQ => self.check_mmio(),
            Check::ProtectedVm => self.check_protected(),
            Check::Hypercall => self.check_hypercall(),
            Check::HostSimd => {
                self.begin_softirqs();
                Ok(())
            }
            Check::HostSignal => {
                self.by_signal = true;
                self.at_next_entry = Some(check);
                Ok(())
            }
            Check::CpuOn if self.kind.second => {
                self.by_cpu_on = true;
                Ok(())
            }
            Check::CpuOn => {
                self.cannot_disturb("its VM has no second vCPU");
                Ok(())
            }
            Check::CpuOffline if self.claims.cpus < 2 => {
                self.skip("the host has one CPU");
                Ok(())
            }
            Check::HostZa
            | Check::HostStreaming
            | Check::HostDebugged
            | Check::HostDebuggedZa
            | Check::HostDebuggedStreaming
            | Check::CpuOffline
            | Check::HostLength
            | Check::HostPreempted
            | Check::HostFault
            | Check::HostFaultZa
            | Check::HostFaultStreaming
            | Check::HostSignalZa
            | Check::HostSignalStreaming
            | Check::HostThread => {
                self.at_next_entry = Some(check);
                Ok(())
            }
        }
    }

    /// Complains unless a call that `what` names was answered as it should be.
    fn demand(&mut self, rule: &str, what: &str, answer: Answer, wanted: Answer) {
        self.demand_of("", rule, what, answer, wanted);
    }

    /// Complains unless this call was.
    fn demand_of(&mut self, call: &str, rule: &str, what: &str, answer: Answer, wanted: Answer) {
        if answer != wanted {
            let [answer, wanted] = [answer, wanted].map(complaint::answer);
            self.note(Complaint::new(rule, what).by(call).wanted(wanted, answer));
        }
    }

    /// KVM_SET_VCPU_EVENTS of what KVM_GET_VCPU_EVENTS gives changes nothing.
    fn check_events(&mut self) -> Result<(), VmError> {
        let before = self.vm.vcpu.get_vcpu_events().map_err(failed("KVM_GET_VCPU_EVENTS"))?;
        self.vm.vcpu.set_vcpu_events(&before).map_err(failed("KVM_SET_VCPU_EVENTS"))?;
        let after = self.vm.vcpu.get_vcpu_events().map_err(failed("KVM_GET_VCPU_EVENTS"))?;
        if before != after {
            let words = |events: &kvm_vcpu_events| {
                let kvm_vcpu_events__bindgen_ty_1 {
                    serror_pending,
                    serror_has_esr,
                    serror_esr,
                    ext_dabt_pending,
                    ..
                } = events.exception;
                format!(
                    "serror_pending {serror_pending}, serror_has_esr {serror_has_esr}, serror_esr {serror_esr:#x}, \
                     ext_dabt_pending {ext_dabt_pending}"
                )
            };
            let complaint = Complaint::new("P-102", "events change by being written as they were read");
            self.note(complaint.by("KVM_SET_VCPU_EVENTS").wanted(words(&before), words(&after)));
        }
        Ok(())
    }
}

/// KVM_GET_ONE_REG of a register, in words.
pub(super) fn getting(id: u64) -> String {
    format!("KVM_GET_ONE_REG of {}", reg::name(id))
}

/// KVM_SET_ONE_REG of a register, in words.
pub(super) fn setting(id: u64) -> String {
    format!("KVM_SET_ONE_REG of {}", reg::name(id))
}

/// What a listed register that KVM_GET_ONE_REG refuses gives cause to (rule P-95).
pub(super) fn unreadable(id: u64, errno: i32) -> Complaint {
    let what = format!("register {id:#018x} is listed and cannot be read");
    Complaint::new("P-95", what).by(getting(id)).wanted("success", complaint::errno(errno))
}

/// KVM_GET_ONE_REG with room for exactly the register.
fn get(vm: &Vm, id: u64) -> std::result::Result<Vec<u8>, i32> {
    let mut value = vec![0; raw::reg::size(id)];
    vm.vcpu.get_one_reg(id, &mut value).map(|_| value).map_err(|error| error.errno())
}

/// KVM_SET_ONE_REG.
fn set(vm: &Vm, id: u64, value: &[u8]) -> Answer {
    answer(vm.vcpu.set_one_reg(id, value))
}

fn answer<T>(result: std::result::Result<T, kvm_ioctls::Error>) -> Answer {
    result.map(drop).map_err(|error| error.errno())
}

/// The first few of `names`, and how many there are.
fn some(names: &[String]) -> String {
    const FEW: usize = 4;
    let first = names.iter().take(FEW).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(FEW) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}
