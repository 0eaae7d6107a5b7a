//! Boot at home: everything between the image's entry and the program's first operation.
//!
//! Nothing here touches FP state or opens a trap of it (a program may be about its first use), with one
//! exception: where no hypervisor is below, the payload plays its part and resets the registers itself.
//!
//! EL2 is programmed by the EL1 names if HCR_EL2.E2H is 1 and by the EL2 names otherwise, so that at a virtual
//! EL2 a VHE boot traps for TLB maintenance alone.

use core::sync::atomic::{AtomicU64, Ordering};

use abi::job::{Status, flag};
use abi::place::Place;
use arch::payload::{control, fp, stubs};
use arch::sysreg::isb;
use arch::{boot, read, write};

use crate::granule::Granule;
use crate::tables::{self, Attributes, Set};
use crate::{arrive, irq, job};

mod sctlr {
    /// SA, SA0, SED, EOS, UCT, nTWI, nTWE, TSCXT, EIS, SPAN, UCI, nTLSMD, LSMAOE: EL0 is trapped by nothing that
    /// a program runs, and exceptions leave PSTATE.PAN alone.
    pub(super) const OFF: u64 = 1 << 3
        | 1 << 4
        | 1 << 8
        | 1 << 11
        | 1 << 15
        | 1 << 16
        | 1 << 18
        | 1 << 20
        | 1 << 22
        | 1 << 23
        | 1 << 26
        | 1 << 28
        | 1 << 29;
    /// SCTLR_EL2 with E2H = 0: RES1 bits and SA, stage 1 off.
    pub(super) const EL2_OFF: u64 = 0x30c5_0838;
    /// M, C, I: stage 1 on, cacheable.
    pub(super) const ON: u64 = 1 | 1 << 2 | 1 << 12;
    /// EnIA, EnIB.
    pub(super) const POINTER_AUTHENTICATION: u64 = 1 << 31 | 1 << 30;
    /// EnFPM: EL0 may use FPMR.
    pub(super) const FPMR: u64 = 1 << 34;
}

mod tcr {
    /// Walks inner-shareable write-back.
    const WALKS: u64 = 1 << 8 | 1 << 10 | 3 << 12;
    /// T0SZ = 25, 4 KiB.
    const COMMON: u64 = 25 | WALKS;
    /// TCR of a regime with EL0: EPD1, IPS = 40 bits.
    pub(super) const TWO_LEVELS: u64 = COMMON | 1 << 23 | 2 << 32;
    /// TCR_EL2 with E2H = 0: RES1 bits, PS = 40 bits.
    pub(super) const EL2: u64 = COMMON | 1 << 23 | 1 << 31 | 2 << 16;
    /// VTCR_EL2 but for what the granule makes of it: RES1 bit, PS = 40 bits.
    pub(super) const STAGE2: u64 = WALKS | 1 << 31 | 2 << 16;
}

mod hcr {
    /// RW, API, APK: EL1 is AArch64 and may authenticate pointers.
    pub(super) const BASE: u64 = 1 << 31 | 1 << 41 | 1 << 40;
    pub(super) const E2H: u64 = 1 << 34;
}

/// HCRX_EL2.EnFPM.
const HCRX_ENFPM: u64 = 1 << 23;
/// CPACR_EL1 and CPTR_EL2 with E2H = 1: FPEN and ZEN open.
const CPACR_OPEN: u64 = 3 << 20 | 3 << 16;
/// CPTR_EL2 with E2H = 0: RES1 bits, FP and SVE open.
const CPTR_NVHE_OPEN: u64 = 0x32ff;
/// The same with TFP and TZ.
const CPTR_NVHE_CLOSED: u64 = CPTR_NVHE_OPEN | 1 << 10 | 1 << 8;
/// ZCR_ELx.LEN of any length that there is.
const ZCR_MAX: u64 = 0xf;

/// Accesses an EL1 register of a guest from L1, by its `_EL12` encoding with E2H = 1 and by its EL1 name with E2H = 0.
macro_rules! guest {
    ($vhe:expr, $el12:literal, $el1:literal) => {
        if $vhe { read!($el12) } else { read!($el1) }
    };
    ($vhe:expr, $el12:literal, $el1:literal, $value:expr) => {
        if $vhe { write!($el12, $value) } else { write!($el1, $value) }
    };
}

/// What L1 keeps of the guest that is not installed.
struct Bank {
    sp: AtomicU64,
    elr: AtomicU64,
    spsr: AtomicU64,
    ttbr0: AtomicU64,
}

/// L2 and L2b, which are the guests with VMID 1 and 2.
static BANKS: [Bank; 2] = [const {
    Bank { sp: AtomicU64::new(0), elr: AtomicU64::new(0), spsr: AtomicU64::new(0), ttbr0: AtomicU64::new(0) }
}; 2];

/// Programs the CPU as the job asks. Returns the place that now runs.
pub(crate) fn set_up() -> Result<Place, Status> {
    let home = job::home().ok_or(Status::BadJob)?;
    if (home == Place::L1) != at_el2() {
        return Err(Status::BadJob);
    }
    let vhe = job::has(flag::VHE);
    stubs::set_handler(arrive::arrived);
    arrive::set_here(home);
    job::HOLE.set(boot::hole());
    if home == Place::L1 {
        write!("hcr_el2", hcr::BASE | if vhe { hcr::E2H } else { 0 });
        isb();
        if has_hcrx() {
            write!("S3_4_C1_C2_2", if job::has_fpmr() { HCRX_ENFPM } else { 0 });
        }
    }
    if job::has(flag::SERVER) {
        reset_fp(home, vhe);
        if home == Place::L1 {
            irq::stop_timers(vhe);
        }
    }
    if irq::has_gic() {
        irq::set_up_gic(home);
    }
    let authenticates = has_pointer_authentication();
    if authenticates {
        set_keys();
    }
    let common = if authenticates { sctlr::POINTER_AUTHENTICATION } else { 0 };
    if home == Place::L1 && !vhe {
        set_up_el2(common)?;
    } else {
        set_up_own(home, common)?;
    }
    if home == Place::L1 {
        set_up_guests(vhe, common)?;
    } else {
        stubs::SAVED.place_el1.store(Place::G as u64, Ordering::Relaxed);
    }
    Ok(home)
}

/// Whether the CPU is at EL2, real or virtual. Not at EL0.
pub(crate) fn at_el2() -> bool {
    read!("CurrentEL") >> 2 & 3 == 2
}

/// HCR_EL2.TGE, at L1.
pub(crate) fn tge() -> bool {
    read!("hcr_el2") >> 27 & 1 != 0
}

/// Whether the CPU has pointer authentication for addresses, by any algorithm.
pub(crate) fn has_pointer_authentication() -> bool {
    const ISAR1_APA_API: u64 = 0xff << 4;
    const ISAR2_APA3: u64 = 0xf << 12;
    read!("S3_0_C0_C6_1") & ISAR1_APA_API != 0 || read!("S3_0_C0_C6_2") & ISAR2_APA3 != 0
}

/// ID_AA64MMFR1_EL1.HCX.
fn has_hcrx() -> bool {
    read!("S3_0_C0_C7_1") >> 40 & 0xf != 0
}

/// Any keys: what counts is that they differ.
fn set_keys() {
    write!("S3_0_C2_C1_0", 0x0123_4567_89ab_cdef); // APIAKeyLo_EL1
    write!("S3_0_C2_C1_1", 0xfedc_ba98_7654_3210); // APIAKeyHi_EL1
    write!("S3_0_C2_C1_2", 0x0f1e_2d3c_4b5a_6978); // APIBKeyLo_EL1
    write!("S3_0_C2_C1_3", 0x8796_a5b4_c3d2_e1f0); // APIBKeyHi_EL1
}

/// FP state as after a reset: all zero, closed at every level, all LEN zero.
fn reset_fp(home: Place, vhe: bool) {
    let sve = job::has_sve();
    match (home, vhe) {
        (Place::L1, false) => write!("cptr_el2", CPTR_NVHE_OPEN),
        // At a VHE EL2 this is CPTR_EL2.
        _ => write!("cpacr_el1", CPACR_OPEN),
    }
    isb();
    if sve {
        set_own_zcr(home, ZCR_MAX);
    }
    fp::zero(sve, job::has_fpmr());
    if sve {
        set_own_zcr(home, 0);
    }
    if home == Place::L1 {
        guest!(vhe, "S3_5_C1_C0_2", "cpacr_el1", 0);
        if sve {
            guest!(vhe, "S3_5_C1_C2_0", "S3_0_C1_C2_0", 0);
        }
    }
    match (home, vhe) {
        (Place::L1, false) => write!("cptr_el2", CPTR_NVHE_CLOSED),
        _ => write!("cpacr_el1", 0),
    }
    isb();
}

/// Writes ZCR of the highest level.
fn set_own_zcr(home: Place, value: u64) {
    if home == Place::L1 {
        write!("S3_4_C1_C2_0", value);
    } else {
        write!("S3_0_C1_C2_0", value);
    }
    isb();
}

/// Whether the job wants stage 1 on.
fn stage1_on() -> bool {
    !job::has(flag::MMU_OFF)
}

/// SCTLR_ELx of a regime with EL0; `common` are bits that every level has alike.
fn sctlr_two_levels(common: u64) -> u64 {
    let on = if stage1_on() { sctlr::ON } else { 0 };
    sctlr::OFF | on | common | if job::has_fpmr() { sctlr::FPMR } else { 0 }
}

/// The regime of a VHE L1 or of G: both are reached by the EL1 names.
fn set_up_own(home: Place, common: u64) -> Result<(), Status> {
    let vectors = if home == Place::L1 { stubs::vectors_el2() } else { stubs::vectors_el1() };
    write!("vbar_el1", vectors);
    write!("mair_el1", tables::MAIR);
    write!("tcr_el1", tcr::TWO_LEVELS);
    if stage1_on() {
        tables::build(Set::Home, Granule::Small, Attributes::TWO_LEVELS, job::doorbell())?;
        write!("ttbr0_el1", tables::root(Set::Home));
    }
    isb();
    if home == Place::L1 {
        control::invalidate_el2();
    } else {
        control::invalidate_el1();
    }
    write!("sctlr_el1", sctlr_two_levels(common));
    isb();
    Ok(())
}

/// The EL2 regime of an nVHE L1.
fn set_up_el2(common: u64) -> Result<(), Status> {
    write!("vbar_el2", stubs::vectors_el2());
    write!("mair_el2", tables::MAIR);
    write!("tcr_el2", tcr::EL2);
    if stage1_on() {
        tables::build(Set::Home, Granule::Small, Attributes::EL2, job::doorbell())?;
        write!("ttbr0_el2", tables::root(Set::Home));
    }
    isb();
    control::invalidate_el2();
    write!("sctlr_el2", sctlr::EL2_OFF | common | if stage1_on() { sctlr::ON } else { 0 });
    isb();
    Ok(())
}

/// The EL1 registers that both guests have alike, stage 2, and the first guest.
fn set_up_guests(vhe: bool, common: u64) -> Result<(), Status> {
    guest!(vhe, "S3_5_C12_C0_0", "vbar_el1", stubs::vectors_el1());
    guest!(vhe, "S3_5_C10_C2_0", "mair_el1", tables::MAIR);
    guest!(vhe, "S3_5_C2_C0_2", "tcr_el1", tcr::TWO_LEVELS);
    guest!(vhe, "S3_5_C1_C0_0", "sctlr_el1", sctlr_two_levels(common));
    if stage1_on() {
        tables::build(Set::L2, Granule::Small, Attributes::TWO_LEVELS, job::doorbell())?;
        tables::build(Set::L2b, Granule::Small, Attributes::TWO_LEVELS, job::doorbell())?;
    }
    let granule = Granule::of_stage2().ok_or(Status::BadJob)?;
    tables::build(Set::Stage2, granule, Attributes::STAGE2, job::doorbell())?;
    write!("vtcr_el2", tcr::STAGE2 | granule.vtcr());
    reset_guests();
    if job::CURSOR.get() == 0 && job::PASS.get() == 0 {
        control::invalidate_guests();
    } else {
        // The tables are as they were, but for the hole.
        invalidate_hole();
    }
    Ok(())
}

/// Forgets what both guests have for the hole. One page, not everything: some hypervisors take seconds for that, once
/// they have a shadow of stage 2.
pub(crate) fn invalidate_hole() {
    let present = read!("vttbr_el2");
    for vmid in 1..=BANKS.len() as u64 {
        write!("vttbr_el2", tables::root(Set::Stage2) | vmid << 48);
        isb();
        control::invalidate_guest_page(tables::hole());
    }
    write!("vttbr_el2", present);
    isb();
}

/// Makes both guests as they were before the program ran, and installs L2.
pub(crate) fn reset_guests() {
    for (bank, (place, set)) in BANKS.iter().zip([(Place::L2, Set::L2), (Place::L2b, Set::L2b)]) {
        bank.sp.store(stubs::stack_top(place as u64), Ordering::Relaxed);
        bank.elr.store(0, Ordering::Relaxed);
        bank.spsr.store(0, Ordering::Relaxed);
        bank.ttbr0.store(tables::root(set), Ordering::Relaxed);
    }
    install(1, &BANKS[0]);
}

/// Puts the present guest away and installs the one with this VMID.
pub(crate) fn switch_guest(vmid: u64) -> Result<(), Status> {
    let bank_of = |vmid: u64| vmid.checked_sub(1).and_then(|index| BANKS.get(index as usize));
    let next = bank_of(vmid).ok_or(Status::BadJob)?;
    let present = bank_of(read!("vttbr_el2") >> 48).ok_or(Status::BadJob)?;
    let vhe = job::has(flag::VHE);
    present.sp.store(read!("sp_el1"), Ordering::Relaxed);
    present.elr.store(guest!(vhe, "S3_5_C4_C0_1", "elr_el1"), Ordering::Relaxed);
    present.spsr.store(guest!(vhe, "S3_5_C4_C0_0", "spsr_el1"), Ordering::Relaxed);
    present.ttbr0.store(guest!(vhe, "S3_5_C2_C0_0", "ttbr0_el1"), Ordering::Relaxed);
    install(vmid, next);
    Ok(())
}

fn install(vmid: u64, bank: &Bank) {
    let vhe = job::has(flag::VHE);
    write!("sp_el1", bank.sp.load(Ordering::Relaxed));
    guest!(vhe, "S3_5_C4_C0_1", "elr_el1", bank.elr.load(Ordering::Relaxed));
    guest!(vhe, "S3_5_C4_C0_0", "spsr_el1", bank.spsr.load(Ordering::Relaxed));
    guest!(vhe, "S3_5_C2_C0_0", "ttbr0_el1", bank.ttbr0.load(Ordering::Relaxed));
    write!("vttbr_el2", tables::root(Set::Stage2) | vmid << 48);
    isb();
}
