//! CPTR_EL2 and ZCR_EL2 for an entry as published bugs had them.

use abi::fault::Fault;

use crate::Hyp;
use crate::bits::{cptr, hcr};
use crate::fp::Owner;
use crate::traps::{Inputs, for_entry};

impl Hyp {
    /// Sets traps and length before an interrupt may change L2 to L1.
    pub fn arm_traps_too_early(&mut self) {
        let switches =
            self.config.el2() && !self.vcpu.in_el2 && self.vcpu.pending.irq && self.l1_hcr(hcr::IMO);
        if switches && self.faults.may(Fault::NvSwitchAfterLoad) {
            self.arm_traps();
            self.faults.latch = Some(SWITCHED_LATE);
        }
    }

    /// Whether L1 runs with what was set for L2.
    pub fn traps_stay(&mut self) -> bool {
        if self.faults.latch != Some(SWITCHED_LATE) {
            return false;
        }
        if !self.vcpu.in_el2 {
            self.faults.latch = None;
            return false;
        }
        self.fault(Fault::NvSwitchAfterLoad)
    }

    /// L1 has the CPU again: a trap that was consumed is over.
    pub fn forget_eaten_trap(&mut self) {
        if self.faults.latch == Some(EATEN) {
            self.faults.latch = None;
        }
    }

    /// What a faulty hypervisor programs where `cptr` and `len` are right.
    pub fn arm_traps_wrongly(&mut self, inputs: Inputs, cptr: u64, len: u64) -> (u64, u64) {
        let l2_open = Inputs { l1: inputs.l1.map(|(_, len)| (cptr::FPEN | cptr::ZEN, len)), ..inputs };
        let live = inputs.owner == Owner::Guest;
        if let Some((l1_cptr, l1_len)) = inputs.l1 {
            let with = |l1_cptr: u64| for_entry(Inputs { l1: Some((l1_cptr, l1_len)), ..inputs });
            if l1_len > self.config.len_max() && self.fault(Fault::NvZcrUncapped) {
                return (cptr, l1_len);
            }
            if l1_len < self.config.len_max() && self.fault(Fault::NvIgnoreL1Zcr) {
                return (cptr, self.config.len_max());
            }
            if closed(l1_cptr) && live && self.fault(Fault::NvCptrNoMerge) {
                return for_entry(l2_open);
            }
            if both_bits(l1_cptr) != lower_bits(l1_cptr) && self.fault(Fault::NvCptr01Traps) {
                return with(both_bits(l1_cptr));
            }
            if any_bit(l1_cptr) != lower_bits(l1_cptr) && self.fault(Fault::NvCptr10Open) {
                return with(any_bit(l1_cptr));
            }
            if self.faults.latch == Some(EATEN) {
                return for_entry(l2_open);
            }
            if live
                && l1_cptr & cptr::ZEN0 == 0
                && l1_cptr & cptr::FPEN0 != 0
                && self.fault(Fault::NvFpTrapOpensSve)
            {
                return with(l1_cptr | cptr::ZEN);
            }
            if self.fault(Fault::NvCpacrNoRecompute) {
                let first = *self.faults.latch.get_or_insert(l1_cptr);
                return with(first);
            }
        }
        if let Some(left) = self.faults.context_left.replace((inputs.l1, self.vcpu.in_el2))
            && left.1 != self.vcpu.in_el2
            && self.fault(Fault::RmStaleActive)
        {
            return for_entry(Inputs { l1: left.0, ..inputs });
        }
        if !live && self.fault(Fault::TrFirstUseNotArmed) {
            return for_entry(Inputs { owner: Owner::Guest, ..inputs });
        }
        if live && self.fault(Fault::TrCptrCached) {
            return (*self.faults.latch.get_or_insert(cptr), len);
        }
        if live && (self.faults.latch == Some(WAS_RESET) || self.fault(Fault::TrE2hLayoutBoot)) {
            return (cptr::RES1_NVHE, len);
        }
        if live && inputs.len_max.is_none() && self.fault(Fault::TrHideIdOnly) {
            return (cptr | cptr::ZEN, self.cpu.vq.saturating_sub(1));
        }
        if live && inputs.len_max.is_some_and(|max| max + 1 < self.cpu.vq) && self.fault(Fault::RmVlParamLost)
        {
            return (cptr, self.cpu.vq - 1);
        }
        if live && self.faults.latch == Some(OTHER_GUEST_RAN) && self.fault(Fault::LzTrapBitsOfOther) {
            return (cptr::FPEN | cptr::ZEN, len);
        }
        if live && self.faults.latch == Some(OTHER_GUEST_RAN) && self.fault(Fault::LzZcr2Left) {
            return (cptr, (self.cpu.vq / 2).saturating_sub(1));
        }
        let trapped = if self.faults.may(Fault::XhTcpacLostWrite) { cptr::TCPAC } else { 0 };
        (cptr | trapped, len)
    }
}

/// The hypervisor has consumed a trap that L1 asked for.
pub const EATEN: u64 = 1;
/// An interrupt changed L2 to L1 after traps were set.
pub const SWITCHED_LATE: u64 = 4;
/// The vCPU was reset.
pub const WAS_RESET: u64 = 2;
/// The other guest has had the CPU.
pub const OTHER_GUEST_RAN: u64 = 3;

const FIELDS: u64 = cptr::FPEN | cptr::ZEN;
const LOWER: u64 = cptr::FPEN0 | cptr::ZEN0;

const fn closed(value: u64) -> bool {
    value & LOWER != LOWER
}

/// Each field as if it needed both bits: 11 stays, all else is 00.
const fn both_bits(value: u64) -> u64 {
    let set = (value & LOWER) & ((value & FIELDS) >> 1);
    set | set << 1
}

/// Each field as if one bit were enough: 10 becomes open.
const fn any_bit(value: u64) -> u64 {
    let set = (value | value >> 1) & LOWER;
    set | set << 1
}

/// Each field by its lower bit, as the architecture has it with TGE = 0.
const fn lower_bits(value: u64) -> u64 {
    let set = value & LOWER;
    set | set << 1
}
