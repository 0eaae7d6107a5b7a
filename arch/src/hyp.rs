//! The hypervisor's assembly: world switch, vectors, save and load of FP state.

use core::arch::global_asm;
use core::mem::offset_of;

/// A guest's general registers and the syndrome of its last exit, as the vectors store them.
#[repr(C, align(64))]
#[derive(Clone, Debug)]
pub struct GuestFrame {
    /// X0 to X30.
    pub x: [u64; 31],
    /// PC: ELR_EL2 on exit and entry.
    pub pc: u64,
    /// PSTATE: SPSR_EL2 on exit and entry.
    pub pstate: u64,
    /// ESR_EL2 of the exit.
    pub esr: u64,
    /// FAR_EL2 of the exit.
    pub far: u64,
}

impl GuestFrame {
    /// A frame of zeros.
    #[must_use]
    pub const fn new() -> Self {
        Self { x: [0; 31], pc: 0, pstate: 0, esr: 0, far: 0 }
    }
}

impl Default for GuestFrame {
    fn default() -> Self {
        Self::new()
    }
}

// The stores in pairs rely on it.
const _: () = assert!(offset_of!(GuestFrame, pstate) == offset_of!(GuestFrame, pc) + 8);
const _: () = assert!(offset_of!(GuestFrame, far) == offset_of!(GuestFrame, esr) + 8);

global_asm!(
    include_str!("hyp/enter.S"),
    PC = const offset_of!(GuestFrame, pc),
    ESR = const offset_of!(GuestFrame, esr),
);
global_asm!(include_str!("hyp/fp.S"));

unsafe extern "C" {
    fn hyp_enter(frame: *mut GuestFrame) -> u64;
    fn hyp_save_z(to: *mut u8);
    fn hyp_load_z(from: *const u8);
    fn hyp_save_p_ffr(to: *mut u8, ffr: *mut u8);
    fn hyp_load_p_ffr(from: *const u8, ffr: *const u8);
    fn hyp_save_v(to: *mut u8);
    fn hyp_load_v(from: *const u8);
    fn hyp_rdvl() -> u64;
    fn hyp_clobber_q0_to_q3();
    fn hyp_other_guest() -> !;
    fn hyp_other_guest_v() -> !;
    static hyp_vectors: u8;
}

/// Why a guest came back: the vector's number in its group. Not an enum, so that it costs nothing to look at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ExitKind(pub u64);

impl ExitKind {
    /// A synchronous exception; [`GuestFrame::esr`] says which.
    pub const SYNC: Self = Self(0);
    /// A physical IRQ.
    pub const IRQ: Self = Self(1);
}

/// Runs the guest until its next exit.
///
/// # Safety
///
/// HCR_EL2, VTTBR_EL2 and the EL1 registers must hold what this guest may run with: it can reach whatever
/// they let it reach.
pub unsafe fn enter(frame: &mut GuestFrame) -> ExitKind {
    // SAFETY: the frame is exclusively borrowed and has the layout that the assembly was given.
    ExitKind(unsafe { hyp_enter(frame) })
}

/// Address of the hypervisor's vector table.
#[must_use]
pub fn vectors() -> u64 {
    (&raw const hyp_vectors).addr() as u64
}

/// Address of the code of the other guest.
#[must_use]
pub fn other_guest() -> u64 {
    hyp_other_guest as *const () as u64
}

/// Storage for the vector registers of one context, packed by vector length.
#[repr(C, align(256))]
#[derive(Clone)]
pub struct VectorStore {
    /// Z0 to Z31 (or V0 to V31, 16 bytes apart).
    pub z: [u8; 32 * 256],
    /// P0 to P15.
    pub p: [u8; 16 * 32],
    /// FFR.
    pub ffr: [u8; 64],
}

impl VectorStore {
    /// All zero.
    #[must_use]
    pub const fn new() -> Self {
        Self { z: [0; 32 * 256], p: [0; 16 * 32], ffr: [0; 64] }
    }

    /// Saves Z, P and FFR at the vector length in force. SVE must be open at EL2.
    pub fn save_sve(&mut self) {
        // SAFETY: 32 registers of at most 256 bytes fit.
        unsafe { hyp_save_z(self.z.as_mut_ptr()) };
        // SAFETY: 16 registers of at most 32 bytes fit, and FFR is one more.
        unsafe { hyp_save_p_ffr(self.p.as_mut_ptr(), self.ffr.as_mut_ptr()) };
    }

    /// Loads Z, P and FFR at the vector length in force. SVE must be open at EL2.
    pub fn load_sve(&self) {
        // SAFETY: reads at most 32 * 256 bytes.
        unsafe { hyp_load_z(self.z.as_ptr()) };
        // SAFETY: reads at most 16 * 32 bytes, and 32 of FFR.
        unsafe { hyp_load_p_ffr(self.p.as_ptr(), self.ffr.as_ptr()) };
    }

    /// Loads Z alone, at the vector length in force. SVE must be open at EL2.
    pub fn load_z(&self) {
        // SAFETY: reads at most 32 * 256 bytes.
        unsafe { hyp_load_z(self.z.as_ptr()) };
    }

    /// Saves V0 to V31, 16 bytes apart. FP must be open at EL2.
    pub fn save_v(&mut self) {
        // SAFETY: 512 bytes fit.
        unsafe { hyp_save_v(self.z.as_mut_ptr()) };
    }

    /// Loads V0 to V31. FP must be open at EL2.
    pub fn load_v(&self) {
        // SAFETY: reads 512 bytes.
        unsafe { hyp_load_v(self.z.as_ptr()) };
    }
}

impl Default for VectorStore {
    fn default() -> Self {
        Self::new()
    }
}

/// The vector length in force at EL2, in bytes. SVE must be open at EL2.
#[must_use]
pub fn vector_length() -> u64 {
    // SAFETY: RDVL reads no memory.
    unsafe { hyp_rdvl() }
}

/// Strips the pointer authentication code from `pointer` and signs the result again with the instruction key
/// A or B that the CPU holds: returns the plain and the signed pointer. Both are `pointer` on a CPU without
/// FEAT_PAuth.
#[must_use]
pub fn sign(pointer: u64, modifier: u64, key_b: bool) -> (u64, u64) {
    let plain: u64;
    // SAFETY: XPACI (in the hint space, on X30) changes one register.
    unsafe {
        core::arch::asm!("mov x30, {p}", "hint #7", "mov {o}, x30", p = in(reg) pointer, o = out(reg) plain, out("x30") _, options(nomem, nostack));
    }
    let signed: u64;
    if key_b {
        // SAFETY: PACIB1716 changes X17.
        unsafe {
            core::arch::asm!("hint #10", inout("x17") plain => signed, in("x16") modifier, options(nomem, nostack));
        }
    } else {
        // SAFETY: PACIA1716 changes X17.
        unsafe {
            core::arch::asm!("hint #8", inout("x17") plain => signed, in("x16") modifier, options(nomem, nostack));
        }
    }
    (plain, signed)
}

/// Invalidates every stage 1 and stage 2 translation of EL1 and EL0, of all VMIDs.
pub fn invalidate_guest_tlb() {
    // SAFETY: invalidation costs time only.
    unsafe {
        core::arch::asm!("dsb ish", "tlbi alle1is", "dsb ish", "isb", options(nostack));
    }
}

/// Reads 64 bits of a guest's memory.
///
/// # Safety
///
/// `address` must be a multiple of 8 inside memory that the guest owns.
pub unsafe fn read_guest(address: u64) -> u64 {
    let pointer = core::ptr::with_exposed_provenance::<u64>(address as usize);
    // SAFETY: the caller's promise; the guest may write it at any time, hence volatile.
    unsafe { pointer.read_volatile() }
}

/// Invalidates the hypervisor's own stage 1 translations.
pub fn invalidate_own_tlb() {
    // SAFETY: invalidation costs time only.
    unsafe {
        core::arch::asm!("dsb sy", "tlbi alle2", "dsb sy", "isb", options(nostack));
    }
}

/// Address of the code of the other guest on a CPU without SVE.
#[must_use]
pub fn other_guest_without_sve() -> u64 {
    hyp_other_guest_v as *const () as u64
}

/// The SGI and PPI frame of a redistributor, after its first one.
const SGI_FRAME: usize = 0x1_0000;
/// GICR_ISENABLER0 in that frame.
const ISENABLER0: usize = SGI_FRAME + 0x100;
/// GICR_ICENABLER0 in that frame.
const ICENABLER0: usize = SGI_FRAME + 0x180;

/// Enables or disables one PPI, on a GICv3 that [`gic_enable_ppis`] has set up.
///
/// # Safety
///
/// As there.
pub unsafe fn gic_set_ppi(redistributor: usize, ppi: u64, on: bool) {
    let address = redistributor + if on { ISENABLER0 } else { ICENABLER0 };
    // SAFETY: an aligned register of the frames that the caller vouches for.
    unsafe { core::ptr::with_exposed_provenance_mut::<u32>(address).write_volatile(1 << ppi) };
}

/// Enables some PPIs, group 1, on a GICv3 with a single security state.
///
/// # Safety
///
/// `distributor` and `redistributor` must be the addresses of the machine's GICv3 frames, mapped as Device, and
/// nobody else may use them.
pub unsafe fn gic_enable_ppis(distributor: usize, redistributor: usize, ppis: u32) {
    const CTLR_ARE_GRP1: u32 = 0x12;
    const WAKER: usize = 0x14;
    const CHILDREN_ASLEEP: u32 = 1 << 2;
    const IGROUPR0: usize = SGI_FRAME + 0x80;
    let store = |address: usize, value: u32| {
        // SAFETY: an aligned register of the frames that the caller vouches for.
        unsafe { core::ptr::with_exposed_provenance_mut::<u32>(address).write_volatile(value) };
    };
    // SAFETY: as above.
    let load = |address: usize| unsafe { core::ptr::with_exposed_provenance::<u32>(address).read_volatile() };
    store(distributor, CTLR_ARE_GRP1);
    store(redistributor + WAKER, 0);
    while load(redistributor + WAKER) & CHILDREN_ASLEEP != 0 {}
    store(redistributor + IGROUPR0, u32::MAX);
    store(redistributor + ISENABLER0, ppis);
}

/// WFI: completes when an interrupt is pending, masked or not, or before.
pub fn wait_for_interrupt() {
    // SAFETY: waiting changes nothing.
    unsafe { core::arch::asm!("wfi", options(nostack)) };
}

/// Writes 64 bits to a device register.
///
/// # Safety
///
/// `address` must be that of a register that this program may write so.
pub unsafe fn ring(address: u64, value: u64) {
    // SAFETY: the caller's promise. One STR of an X register, so that a trap has a valid syndrome.
    unsafe { core::arch::asm!("str {v}, [{a}]", v = in(reg) value, a = in(reg) address, options(nostack)) };
}

/// AT S1E1W: leaves the translation of an address, by EL1's stage 1 alone, in PAR_EL1.
pub fn translate_stage1(address: u64) {
    // SAFETY: the instruction changes PAR_EL1 only.
    unsafe { core::arch::asm!("at s1e1w, {a}", "isb", a = in(reg) address, options(nostack)) };
}

/// The translation of an address by EL1's stage 1 alone, for a write. `None` if it faults. PAR_EL1, which is the
/// guest's, keeps its value.
#[must_use]
pub fn translated_stage1(address: u64) -> Option<u64> {
    const ADDRESS: u64 = 0x0000_ffff_ffff_f000;
    let guests = crate::read!("par_el1");
    translate_stage1(address);
    let par = crate::read!("par_el1");
    crate::write!("par_el1", guests);
    (par & 1 == 0).then_some((par & ADDRESS) | (address & 0xfff))
}

/// The address of this very instruction, in the caller.
#[inline(always)]
#[must_use]
pub fn here() -> u64 {
    let pc: u64;
    // SAFETY: ADR reads no memory.
    unsafe { core::arch::asm!("adr {}, .", out(reg) pc, options(nomem, nostack, preserves_flags)) };
    pc
}

/// Overwrites Q0 to Q3, as compiled code would. FP must be open at EL2.
pub fn clobber_q0_to_q3() {
    // SAFETY: a softfloat program keeps nothing in these registers.
    unsafe { hyp_clobber_q0_to_q3() };
}
