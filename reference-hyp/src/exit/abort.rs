//! Stage 2 aborts: the doorbell, the shadow, and guests that run wild.

use abi::fault::Fault;
use abi::hyp::{End, Event};
use arch::{esr, read};

use crate::Hyp;
use crate::bits::hcr;
use crate::inject::Vector;
use crate::shadow::{self, Translation};
use crate::stage2::{BLOCK, desc, grant, owns};

/// What was tried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Access {
    /// A write.
    pub write: bool,
    /// An instruction fetch.
    pub fetch: bool,
}

impl Access {
    /// From the syndrome of an abort. An access by a table walk is a read.
    pub const fn decode(esr: u64) -> Self {
        const WNR: u64 = 1 << 6;
        const S1PTW: u64 = 1 << 7;
        let fetch = esr::class(esr) == esr::ec::IABORT_LOWER;
        Self { write: !fetch && esr & WNR != 0 && esr & S1PTW == 0, fetch: fetch && esr & S1PTW == 0 }
    }

    /// Whether a mapping with these permissions allows it.
    pub const fn allowed(self, permissions: u64) -> bool {
        if self.fetch {
            permissions & desc::XN == 0 && permissions & desc::READ != 0
        } else if self.write {
            permissions & desc::WRITE != 0
        } else {
            permissions & desc::READ != 0
        }
    }
}

/// The fault status code field.
const FSC: u64 = 0x3f;
/// FSC of a permission fault at level 0.
const PERMISSION: u64 = 0x0c;

impl Hyp {
    /// An instruction or data abort from the guest.
    pub fn stage2_abort(&mut self, esr: u64) {
        let far = self.vcpu.frame.far;
        let hpfar = read!("hpfar_el2");
        let ipa = ((hpfar & 0x0000_0fff_ffff_fff0) << 8) | (far & 0xfff);
        let access = Access::decode(esr);
        if self.config.el2() && !self.vcpu.in_el2 && self.l1_hcr(hcr::VM) {
            return self.shadow_abort(esr, far, hpfar, ipa, access);
        }
        if !self.own_abort(esr, ipa, access) {
            self.end(End::WildAccess, esr);
        }
    }

    /// L2 under L1's own stage 2.
    fn shadow_abort(&mut self, esr: u64, far: u64, hpfar: u64, ipa: u64, access: Access) {
        let config = self.config;
        let read = |at: u64| {
            // SAFETY: an aligned address inside the guest's own memory.
            owns(&config, at).then(|| unsafe { arch::hyp::read_guest(at & !7) })
        };
        let status = match shadow::walk(&self.vcpu.vncr, ipa, read) {
            Ok(Translation { address, permissions: l1, level }) => {
                if access.allowed(l1) {
                    return self.shadow_fill(
                        esr,
                        ipa,
                        Translation { address, permissions: l1, level },
                        access,
                    );
                }
                PERMISSION | level
            }
            Err(status) => status,
        };
        if self.faults.latch == Some(self.vcpu.frame.pc) && self.fault(Fault::RmTrapDropsFault) {
            return self.advance();
        }
        self.vcpu.el2.hpfar = hpfar;
        self.nested_exception(Vector::Sync, Some(esr & !FSC | status), far);
    }

    /// L1 allows it: does L0?
    fn shadow_fill(&mut self, esr: u64, ipa: u64, l1: Translation, access: Access) {
        let own = grant(&self.config, l1.address).filter(|own| access.allowed(*own));
        let Some(own) = own else {
            if !self.own_abort(esr, l1.address, access) {
                self.end(End::WildAccess, esr);
            }
            return;
        };
        const RIGHTS: u64 = desc::READ | desc::WRITE;
        let attributes =
            (own & !RIGHTS) | (own & l1.permissions & RIGHTS) | (l1.permissions & desc::XN) | desc::AF;
        // A block where both stages have at least one: what is granted changes at blocks only.
        let block = l1.level < 3 && self.config.guest_text_size.is_multiple_of(BLOCK);
        let descriptor = if block {
            (l1.address & !(BLOCK - 1)) | desc::BLOCK | attributes
        } else {
            (l1.address & desc::ADDRESS) | desc::TABLE | attributes
        };
        if !self.shadow.map(ipa, descriptor, block) {
            arch::hyp::invalidate_guest_tlb();
        }
        self.job.counters.stage2_fills += 1;
        self.event(Event::Stage2, [ipa, descriptor]);
    }

    /// An access that only L0's own stage 2 stands against. False if it is wild.
    fn own_abort(&mut self, esr: u64, address: u64, access: Access) -> bool {
        if self.config.outermost() && address & !0xfff == abi::doorbell::ADDRESS {
            return self.doorbell(esr, address & 0xfff, access);
        }
        if !owns(&self.config, address)
            || !grant(&self.config, address).is_some_and(|own| access.allowed(own))
        {
            return false;
        }
        let (entry, known) = self.stage2.map(&self.config, address);
        self.job.counters.stage2_fills += 1;
        self.event(Event::Stage2, [address, entry]);
        !known
    }
}
