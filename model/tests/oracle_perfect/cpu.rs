//! A CPU that does everything right: a second, naive formulation of the architecture that runs programs.
//!
//! It shares nothing with the oracle: it holds plain bytes and registers, takes exceptions by writing ELR and
//! SPSR, and finds its place from them again, as hardware does.

use abi::op::{Code, Go, Op, Touch, mask};
use abi::place::Place;
use abi::record::{Kind, MAGIC, VECTOR_BOOT, VECTOR_NONE};
use abi::sysreg::SysReg;
use model::compile::Program;

/// Where the two hole pages lie.
pub const HOLE: u64 = 0x4180_0000;
/// Where the instruction of operation 0 lies; each has 16 bytes.
const SLOTS: u64 = 0x4100_0000;
/// Where the entry of place 0 lies; each has 16 bytes.
const ENTRIES: u64 = 0x4000_0000;

/// What becomes of bits above a vector length that was passed through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Upper {
    Keep,
    Zero,
    /// One or the other, by register and by how often it was asked.
    Mixed,
}

/// An exception as the hardware knows it.
#[derive(Clone, Copy, Debug)]
pub struct Exception {
    pub el: u8,
    pub offset: u64,
    pub esr: Option<u64>,
    pub after: bool,
    pub far: Option<u64>,
}

/// What a test does to a right run.
pub trait Bug {
    /// The CPU is about to write the record of the `n`-th arrival.
    fn at_arrival(&mut self, _n: usize, _cpu: &mut Cpu) {}
    /// The words of that record are final.
    fn in_record(&mut self, _n: usize, _words: &mut [u64; 42]) {}
    /// An exception is about to be taken; `None` lets the instruction run as if nothing were closed.
    fn exception(&mut self, exception: Exception) -> Option<Exception> {
        Some(exception)
    }
}

/// No bug.
pub struct Right;
impl Bug for Right {}

/// The exception registers of a level.
#[derive(Clone, Default)]
pub struct Level {
    pub elr: u64,
    pub spsr: u64,
    pub esr: u64,
    pub far: u64,
    pub hpfar: u64,
}

pub struct Cpu {
    pub z: Vec<[u8; 256]>,
    pub p: Vec<[u8; 32]>,
    pub ffr: [u8; 32],
    pub fpsr: u64,
    pub fpcr: u64,
    pub fpmr: u64,
    pub x: [u64; 31],
    /// By place; 0 is L1 with SP_EL0.
    sp: [u64; 8],
    spsel: bool,
    pub nzcv: u64,
    pub daif: u64,
    pub el: u8,
    pub cpacr: u64,
    pub zcr1: u64,
    pub sctlr1: u64,
    pub cptr: u64,
    pub zcr2: u64,
    pub hcr: u64,
    pub hcrx: u64,
    pub sctlr2: u64,
    levels: [Level; 3],
    guest: bool,
    second: bool,
    irq: bool,
    serror: bool,
    unmapped: Vec<(u64, Place)>,
    memory: Vec<u8>,
    left_pc: u64,
    target_pc: u64,
    sp_left: [u64; 8],
    arrivals: usize,
    asked: usize,
    lengths: Vec<usize>,
    quirk: bool,
    sve: bool,
    fpmr_there: bool,
    upper: Upper,
    ring: Vec<u8>,
    seq: u32,
}

impl Cpu {
    pub fn run(program: &Program, upper: Upper, bug: &mut dyn Bug) -> Vec<u8> {
        let mut cpu = Self::new(program, upper);
        cpu.interpret(program, bug);
        cpu.ring
    }

    fn interpret(&mut self, program: &Program, bug: &mut dyn Bug) {
        let mut cursor = 0;
        loop {
            let op = program.ops[cursor];
            if op.place != self.place() as u8 {
                self.arrival_record(Kind::Unexpected, cursor, VECTOR_NONE, &mut Right);
                return;
            }
            let code = Code::from_u16(op.code).unwrap();
            let data = &program.data[op.data as usize..(op.data + op.data_len) as usize];
            match code {
                Code::End => return,
                Code::Fill => self.fill(op.arg[0], data),
                Code::Dump => self.dump(op.arg[0], cursor),
                Code::SysWrite => self.sys_write(op.arg),
                Code::SysRead => {
                    let value = self.read(SysReg::from_u16(op.arg[0] as u16).unwrap());
                    self.register(cursor, op.arg[0], value);
                }
                Code::ReadVl => self.register(cursor, u64::from(abi::op::RDVL), self.vl() as u64),
                Code::Churn => self.churn(op.arg[0], op.arg[1] != 0),
                Code::Doorbell | Code::RoundTrips | Code::Fired => {}
                Code::Pend => (self.irq, self.serror) = (op.arg[0] & 1 != 0, op.arg[0] & 2 != 0),
                Code::Map => {
                    let key = (op.arg[0], if op.arg[0] == 1 { Place::L1 } else { self.place() });
                    self.unmapped.retain(|other| *other != key);
                    if op.arg[1] == 0 {
                        self.unmapped.push(key);
                    }
                }
                Code::Bank => {
                    self.second = op.arg[0] == 2;
                    self.levels[1] = Level::default();
                    (self.cpacr, self.zcr1) = (0, 0);
                }
                Code::Go => {
                    let vector = self.go(&op, cursor, data, program, bug);
                    let n = self.arrivals;
                    self.arrivals += 1;
                    bug.at_arrival(n, self);
                    if Place::from_u8(program.ops[cursor + 1].place) != Some(self.place()) {
                        self.arrival_record(Kind::Unexpected, cursor, vector, bug);
                        return;
                    }
                    self.arrival_record(Kind::Arrival, cursor, vector, bug);
                }
            }
            cursor += 1;
        }
    }

    // ---- Where and how -----------------------------------------------------------------------------------

    pub fn place(&self) -> Place {
        match (self.guest, self.el, self.tge(), self.second) {
            (true, 1, ..) => Place::G,
            (true, ..) => Place::GEl0,
            (_, 2, ..) => Place::L1,
            (_, 1, _, true) => Place::L2b,
            (_, 1, ..) => Place::L2,
            (_, _, true, _) => Place::L1El0,
            _ => Place::L2El0,
        }
    }

    /// Which stack pointer is in use.
    fn stack(&self) -> usize {
        if self.el == 2 && !self.spsel { 0 } else { self.place() as usize }
    }

    fn e2h(&self) -> bool {
        self.hcr >> 34 & 1 != 0
    }

    fn tge(&self) -> bool {
        self.hcr >> 27 & 1 != 0
    }

    fn in_host(&self, el: u8) -> bool {
        el == 0 && self.e2h() && self.tge()
    }

    /// The level to which an access with these needs traps from `el`, and the class.
    fn closed(&self, el: u8, sve: bool, fp: bool) -> Option<(u8, u64)> {
        let field = |value: u64, at: u32| value >> at & 3;
        let el1_holds = el < 2 && !self.in_host(el);
        let shut = |f: u64, only_el0: bool| f == 0 || f == 2 || (f == 1 && only_el0);
        for (needs, at, ec) in [(sve, 16, 0x19), (fp, 20, 0x07)] {
            if needs && el1_holds && shut(field(self.cpacr, at), el == 0) {
                return Some((1, ec));
            }
        }
        if self.guest {
            return None;
        }
        for (needs, at, bit, ec) in [(sve, 16, 8, 0x19), (fp, 20, 10, 0x07)] {
            let shut = if self.e2h() {
                shut(field(self.cptr, at), el == 0 && self.tge())
            } else {
                self.cptr >> bit & 1 != 0
            };
            if needs && shut {
                return Some((2, ec));
            }
        }
        None
    }

    fn vl_at(&self, el: u8) -> usize {
        let mut limit = 256;
        if el < 2 && !self.in_host(el) {
            limit = limit.min(16 * (self.zcr1 as usize + 1));
        }
        if !self.guest {
            limit = limit.min(16 * (self.zcr2 as usize + 1));
        }
        self.lengths.iter().copied().filter(|vl| *vl <= limit).max().unwrap_or(16)
    }

    /// The vector length here, 16 where SVE is closed.
    fn vl(&self) -> usize {
        if self.sve && self.closed(self.el, true, false).is_none() { self.vl_at(self.el) } else { 16 }
    }

    /// Bits above the length of this level may go.
    fn pass_through(&mut self) {
        if self.closed(self.el, false, true).is_some() {
            return;
        }
        let vl = self.vl();
        for reg in 0..49 {
            self.asked += 1;
            let zero = match self.upper {
                Upper::Keep => false,
                Upper::Zero => true,
                Upper::Mixed => (self.asked * 7 + reg).is_multiple_of(3),
            };
            match reg {
                _ if !zero => {}
                0..32 => self.z[reg][vl..].fill(0),
                32..48 => self.p[reg - 32][vl / 8..].fill(0),
                _ => self.ffr[vl / 8..].fill(0),
            }
        }
    }

    // ---- Operations --------------------------------------------------------------------------------------

    fn fill(&mut self, what: u64, image: &[u8]) {
        let word = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().unwrap());
        let v_only = what & mask::V_ONLY != 0;
        let vl = self.vl();
        let len = if v_only { 16 } else { vl };
        for reg in (0..32).filter(|reg| what >> reg & 1 != 0) {
            self.z[reg][..vl].fill(0);
            self.z[reg][..len].copy_from_slice(&image[576 + reg * len..][..len]);
        }
        for reg in (0..16).filter(|reg| what >> (32 + reg) & 1 != 0) {
            self.p[reg][..vl / 8].copy_from_slice(&image[64 + reg * vl / 8..][..vl / 8]);
        }
        if what & mask::FFR != 0 {
            self.ffr[..vl / 8].copy_from_slice(&image[32..32 + vl / 8]);
        }
        for (bit, to, at) in [
            (mask::FPSR, &mut self.fpsr, 0),
            (mask::FPCR, &mut self.fpcr, 8),
            (mask::FPMR, &mut self.fpmr, 16),
        ] {
            if what & bit != 0 {
                *to = word(at);
            }
        }
    }

    fn dump(&mut self, what: u64, op: usize) {
        let v_only = what & mask::V_ONLY != 0;
        let vl = if v_only { 16 } else { self.vl() };
        let mut body = Vec::new();
        for word in [self.fpsr, self.fpcr, self.fpmr, vl as u64] {
            body.extend(word.to_le_bytes());
        }
        body.extend(&self.ffr[..if v_only { 0 } else { vl / 8 }]);
        body.resize(64, 0);
        for p in self.p.iter().filter(|_| !v_only) {
            body.extend(&p[..vl / 8]);
        }
        body.resize(576, 0);
        for z in &self.z {
            body.extend(&z[..vl]);
        }
        self.record(Kind::Dump, op, &body);
    }

    fn churn(&mut self, rounds: u64, v_only: bool) {
        let vl = self.vl();
        let len = if v_only { 16 } else { vl };
        for _ in 0..rounds {
            for i in 0..32 {
                for lane in (0..len).step_by(8) {
                    let at = |z: &[u8; 256]| u64::from_le_bytes(z[lane..lane + 8].try_into().unwrap());
                    let sum = at(&self.z[i]).wrapping_add(at(&self.z[(i + 1) % 32]));
                    let new = sum ^ at(&self.z[(i + 7) % 32]);
                    self.z[i][lane..lane + 8].copy_from_slice(&new.to_le_bytes());
                }
            }
            for i in (0..16).filter(|_| !v_only) {
                for byte in 0..vl / 8 {
                    self.p[i][byte] ^= self.p[(i + 1) % 16][byte];
                }
            }
        }
    }

    fn storage(&mut self, reg: SysReg) -> &mut u64 {
        let host = self.el == 2 && self.e2h();
        match reg {
            SysReg::Fpsr => &mut self.fpsr,
            SysReg::Fpcr => &mut self.fpcr,
            SysReg::Fpmr => &mut self.fpmr,
            SysReg::CptrEl2 => &mut self.cptr,
            SysReg::CpacrEl1 if host => &mut self.cptr,
            SysReg::CpacrEl1 | SysReg::CpacrEl12 => &mut self.cpacr,
            SysReg::ZcrEl2 => &mut self.zcr2,
            SysReg::ZcrEl1 if host => &mut self.zcr2,
            SysReg::ZcrEl1 | SysReg::ZcrEl12 => &mut self.zcr1,
            SysReg::HcrEl2 => &mut self.hcr,
            SysReg::HcrxEl2 => &mut self.hcrx,
            SysReg::SctlrEl2 => &mut self.sctlr2,
            SysReg::SctlrEl1 if host => &mut self.sctlr2,
            SysReg::SctlrEl1 | SysReg::SctlrEl12 => &mut self.sctlr1,
            other => panic!("{} is not stored", other.name()),
        }
    }

    fn read(&mut self, reg: SysReg) -> u64 {
        match reg {
            SysReg::CurrentEl => u64::from(self.el) << 2,
            SysReg::IdAa64Pfr0El1 => u64::from(self.sve) << 32 | 0x11_0000,
            reg => *self.storage(reg),
        }
    }

    fn sys_write(&mut self, arg: [u64; 5]) {
        let reg = SysReg::from_u16(arg[0] as u16).unwrap();
        self.write(reg, arg[1], arg[2]);
    }

    fn write(&mut self, reg: SysReg, value: u64, mask: u64) {
        let writable =
            if matches!(reg, SysReg::ZcrEl1 | SysReg::ZcrEl2 | SysReg::ZcrEl12) { 0xf } else { u64::MAX };
        let storage = self.storage(reg);
        *storage = (*storage & !mask | value & mask) & writable;
        self.pass_through();
    }

    fn register(&mut self, op: usize, reg: u64, value: u64) {
        let body: Vec<u8> = [reg, value].into_iter().flat_map(u64::to_le_bytes).collect();
        self.record(Kind::Register, op, &body);
    }

    // ---- Leaving and arriving ----------------------------------------------------------------------------

    /// Runs the instruction of a `Go` and gives the vector by which the next place is reached.
    fn go(&mut self, op: &Op, cursor: usize, image: &[u8], program: &Program, bug: &mut dyn Bug) -> u64 {
        let word = |at: usize| u64::from_le_bytes(image[8 * at..8 * at + 8].try_into().unwrap());
        let pc = SLOTS + 16 * cursor as u64;
        self.left_pc = pc;
        let stack = self.stack();
        // The interpreter is somewhere in its stack.
        self.sp[stack] -= 16;
        self.sp_left[stack] = self.sp[stack];
        self.x = std::array::from_fn(word);
        self.nzcv = word(31);
        let el = usize::from(self.el);
        let kind = GO.into_iter().find(|go| *go as u64 == op.arg[0]).unwrap();
        match kind {
            Go::Eret | Go::EretBack => {
                if matches!(op.arg[3], 3 | 4) {
                    let esr = 0x1c << 26 | 1 << 25 | (op.arg[3] - 3);
                    let exception =
                        Exception { el: self.el, offset: 0, esr: Some(esr), after: false, far: None };
                    return self.take(exception, pc, bug).unwrap();
                }
                if kind == Go::Eret {
                    self.levels[el].spsr = op.arg[1];
                    self.levels[el].elr = ENTRIES + 16 * op.arg[2];
                } else {
                    self.levels[el].elr += op.arg[1];
                }
                self.target_pc = self.levels[el].elr;
                self.eret(program, bug)
            }
            Go::Reset => {
                let ring = std::mem::take(&mut self.ring);
                let (seq, arrivals) = (self.seq, self.arrivals);
                *self = Self { ring, seq, arrivals, ..Self::new(program, self.upper) };
                VECTOR_BOOT
            }
            _ => self.execute(kind, op.arg[1], pc, bug).unwrap_or(VECTOR_NONE),
        }
    }

    /// A CPU after reset.
    fn new(program: &Program, upper: Upper) -> Self {
        let machine = &program.machine;
        Self {
            z: vec![[0; 256]; 32],
            p: vec![[0; 32]; 16],
            ffr: [0; 32],
            fpsr: 0,
            fpcr: 0,
            fpmr: 0,
            x: [0; 31],
            sp: std::array::from_fn(|place| 0x1000 * (place as u64 + 1)),
            spsel: true,
            nzcv: 0,
            daif: 0x3c0,
            el: if program.home == Place::L1 { 2 } else { 1 },
            cpacr: 0,
            zcr1: 0,
            sctlr1: 0,
            cptr: 0,
            zcr2: 0,
            hcr: (u64::from(program.flags & abi::job::flag::VHE != 0)) << 34,
            hcrx: 0,
            sctlr2: 0,
            levels: Default::default(),
            guest: program.home == Place::G,
            second: false,
            irq: false,
            serror: false,
            unmapped: Vec::new(),
            memory: model::compile::hole_image(),
            left_pc: 0,
            target_pc: 0,
            sp_left: [0; 8],
            arrivals: 0,
            asked: 0,
            lengths: machine.lengths.iter().map(|vq| usize::from(vq) * 16).collect(),
            quirk: machine.quirks.zcr_checks_fpen,
            sve: machine.features.sve,
            fpmr_there: machine.features.fpmr,
            upper,
            ring: Vec::new(),
            seq: 0,
        }
    }

    fn eret(&mut self, program: &Program, bug: &mut dyn Bug) -> u64 {
        let Level { elr, spsr, .. } = self.levels[usize::from(self.el)];
        self.nzcv = spsr & 0xf000_0000;
        self.daif = spsr & 0x3c0;
        if !matches!(spsr & 0x1f, 0 | 4 | 5 | 8 | 9) {
            let esr = 0x0e << 26 | 1 << 25;
            let exception = Exception { el: self.el, offset: 0, esr: Some(esr), after: false, far: None };
            let vector = self.take(exception, elr, bug).unwrap();
            self.levels[usize::from(self.el)].spsr |= 1 << 20;
            return vector;
        }
        self.el = (spsr >> 2 & 3) as u8;
        self.spsel = spsr & 1 != 0;
        self.pass_through();
        if let Some(exception) = self.interrupt() {
            return self.take(exception, elr, bug).unwrap();
        }
        if elr < SLOTS || !(elr - SLOTS).is_multiple_of(16) {
            return VECTOR_NONE;
        }
        // Back to the instruction itself.
        let op = program.ops[((elr - SLOTS) / 16) as usize];
        let kind = GO.into_iter().find(|go| *go as u64 == op.arg[0]).unwrap();
        self.execute(kind, op.arg[1], elr, bug).unwrap_or(VECTOR_NONE)
    }

    /// What is pending and not masked here.
    fn interrupt(&self) -> Option<Exception> {
        let routed = |bit: u32| !self.guest && (self.hcr >> bit & 1 != 0 || self.tge());
        let masked = |bit: u64| self.daif & bit != 0;
        let below = self.el < 2 && !self.guest && !self.tge();
        let serror = Some(0x2f << 26 | 1 << 25);
        for (pending, hcr_pending, route, mask, offset, esr) in
            [(self.irq, 7, 4, 1 << 7, 0x80, None), (self.serror, 8, 5, 1 << 8, 0x180, serror)]
        {
            if pending {
                let to_el2 = routed(route);
                let open = match (to_el2, self.el) {
                    (true, 2) => !masked(mask),
                    (true, _) if self.in_host(self.el) => !masked(mask),
                    (true, _) => true,
                    (false, 2) => false,
                    (false, _) => !masked(mask),
                };
                if open {
                    let el = if to_el2 { 2 } else { 1 };
                    return Some(Exception { el, offset, esr, after: false, far: None });
                }
            }
            if below && self.hcr >> hcr_pending & 1 != 0 && self.hcr >> route & 1 != 0 && !masked(mask) {
                return Some(Exception { el: 1, offset, esr, after: false, far: None });
            }
        }
        None
    }

    /// Runs one instruction at `pc`; gives the vector if it takes an exception.
    fn execute(&mut self, go: Go, arg: u64, pc: u64, bug: &mut dyn Bug) -> Option<u64> {
        let up = if self.in_host(self.el) { 2 } else { self.el.max(1) };
        let plain = |el, ec: u64, iss: u64| Exception {
            el,
            offset: 0,
            esr: Some(ec << 26 | 1 << 25 | iss),
            after: matches!(ec, 0x15 | 0x16),
            far: None,
        };
        let undefined = plain(up, 0, 0);
        let exception = match go {
            Go::Hvc if self.el == 0 => undefined,
            Go::Hvc => plain(2, 0x16, arg),
            Go::Svc => plain(up, 0x15, arg),
            Go::Smc if self.el == 0 => undefined,
            Go::Smc if self.el == 1 && !self.guest && self.hcr >> 19 & 1 != 0 => plain(2, 0x17, arg),
            // PSCI CPU_SUSPEND to standby, with something pending.
            Go::Smc if self.x[0] == 0xc400_0001 => {
                assert!(self.irq || self.serror, "nothing ends this wait");
                self.x[0] = 0;
                return None;
            }
            Go::Udf => undefined,
            Go::Brk => plain(up, 0x3c, arg),
            Go::Wfi if self.el == 1 && !self.guest && self.hcr >> 13 & 1 != 0 && !self.would_wake() => {
                plain(2, 0x01, 0x1e << 20)
            }
            Go::WfiTimer => {
                self.irq = true;
                assert!(
                    self.interrupt().is_none() && self.would_wake(),
                    "it would be taken, or not end the wait"
                );
                return None;
            }
            Go::Actlr if self.el == 0 => undefined,
            Go::Actlr if self.el == 1 && !self.guest && self.hcr >> 21 & 1 != 0 => plain(2, 0x18, 0x32_0401),
            Go::Load => match self.translate(self.x[1], 1 << 24 | 3 << 22 | 1 << 15) {
                Ok(at) => {
                    self.x[0] = u64::from_le_bytes(self.memory[at..at + 8].try_into().unwrap());
                    return None;
                }
                Err(abort) => abort,
            },
            Go::Unmask => {
                self.daif &= !0x180;
                let Some(exception) = self.interrupt() else {
                    self.daif = 0x3c0;
                    return None;
                };
                return self.take(exception, pc, bug);
            }
            Go::Touch => match self.touch(Touch::from_u64(arg).unwrap()) {
                Ok(()) => return None,
                Err(exception) => exception,
            },
            _ => return None,
        };
        let taken = self.take(exception, pc, bug);
        if taken.is_none() && go == Go::Touch {
            // The bug let it through: everything is open for this one instruction.
            let kept = (self.cpacr, self.cptr);
            self.cpacr = 0x33 << 16;
            self.cptr = if self.e2h() { 0x33 << 16 } else { 0 };
            let _ = self.touch(Touch::from_u64(arg).unwrap());
            (self.cpacr, self.cptr) = kept;
        }
        taken
    }

    fn would_wake(&self) -> bool {
        let unmasked = Self { daif: 0, ..self.shallow() };
        unmasked.interrupt().is_some()
    }

    /// A copy of what [`Self::interrupt`] looks at.
    fn shallow(&self) -> Self {
        Self {
            z: Vec::new(),
            p: Vec::new(),
            levels: Default::default(),
            unmapped: Vec::new(),
            memory: Vec::new(),
            lengths: Vec::new(),
            ring: Vec::new(),
            ..*self
        }
    }

    fn touch(&mut self, touch: Touch) -> Result<(), Exception> {
        let up = if self.in_host(self.el) { 2 } else { self.el.max(1) };
        let exception = |el, ec: u64, iss: u64| Exception {
            el,
            offset: 0,
            esr: Some(ec << 26 | 1 << 25 | iss),
            after: false,
            far: None,
        };
        let undefined = exception(up, 0, 0);
        let sysreg = |el, op1: u64, crn: u64, crm: u64, op2: u64, read: bool| {
            exception(el, 0x18, 3 << 20 | op2 << 17 | op1 << 14 | crn << 10 | crm << 1 | u64::from(read))
        };
        let (sve, fp, reg) = match touch {
            Touch::V | Touch::LoadQ | Touch::StoreQ | Touch::VRead => (false, true, None),
            Touch::Fpsr => (false, true, Some((SysReg::Fpsr, false))),
            Touch::Fpcr => (false, true, Some((SysReg::Fpcr, false))),
            Touch::Fpmr => (false, true, Some((SysReg::Fpmr, false))),
            Touch::ZcrEl1 => (true, self.quirk, Some((SysReg::ZcrEl1, false))),
            Touch::ZcrEl1Write => (true, self.quirk, Some((SysReg::ZcrEl1, true))),
            Touch::ZcrEl2 => (true, self.quirk, Some((SysReg::ZcrEl2, false))),
            Touch::ZcrEl2Write => (true, self.quirk, Some((SysReg::ZcrEl2, true))),
            Touch::ZcrEl12 => (true, self.quirk, Some((SysReg::ZcrEl12, false))),
            Touch::CpacrEl1 => (false, false, Some((SysReg::CpacrEl1, false))),
            Touch::CpacrEl1Write => (false, false, Some((SysReg::CpacrEl1, true))),
            Touch::SmcrEl1 => return Err(undefined),
            _ => (true, true, None),
        };
        let privileged = !matches!(reg, None | Some((SysReg::Fpsr | SysReg::Fpcr | SysReg::Fpmr, _)));
        let of_el2 = matches!(touch, Touch::ZcrEl2 | Touch::ZcrEl2Write | Touch::ZcrEl12);
        if (privileged && self.el == 0)
            || (of_el2 && self.el != 2)
            || (touch == Touch::ZcrEl12 && !self.e2h())
            || (sve && !self.sve)
            || (touch == Touch::Fpmr && !self.fpmr_there)
        {
            return Err(undefined);
        }
        if touch == Touch::Fpmr {
            let sctlr = if self.in_host(self.el) { self.sctlr2 } else { self.sctlr1 };
            if self.el == 0 && sctlr >> 34 & 1 == 0 {
                return Err(sysreg(up, 3, 4, 4, 2, true));
            }
            if !self.guest && self.el < 2 && !self.in_host(self.el) && self.hcrx >> 23 & 1 == 0 {
                return Err(sysreg(2, 3, 4, 4, 2, true));
            }
        }
        if matches!(touch, Touch::CpacrEl1 | Touch::CpacrEl1Write)
            && self.el == 1
            && !self.guest
            && self.cptr >> 31 & 1 != 0
        {
            return Err(sysreg(2, 0, 1, 0, 2, touch == Touch::CpacrEl1));
        }
        if let Some((el, ec)) = self.closed(self.el, sve, fp) {
            return Err(exception(el, ec, if ec == 0x07 { 0x1e << 20 } else { 0 }));
        }
        if let Some((reg, write)) = reg {
            if write {
                self.write(reg, self.x[0], u64::MAX);
            } else {
                self.x[0] = self.read(reg);
            }
            return Ok(());
        }
        let vl = self.vl();
        match touch {
            Touch::V => {
                let low = self.z[30];
                self.z[31][..vl].fill(0);
                self.z[31][..16].copy_from_slice(&low[..16]);
            }
            Touch::Z => {
                let value = self.z[30];
                self.z[31][..vl].copy_from_slice(&value[..vl]);
            }
            Touch::P => {
                let value = self.p[14];
                self.p[15][..vl / 8].copy_from_slice(&value[..vl / 8]);
            }
            Touch::Ffr => self.p[15][..vl / 8].copy_from_slice(&self.ffr[..vl / 8]),
            Touch::SetFfr => self.ffr[..vl / 8].fill(0xff),
            Touch::Rdvl => self.x[0] = vl as u64,
            Touch::VRead => self.x[0] = u64::from_le_bytes(self.z[30][..8].try_into().unwrap()),
            Touch::LoadQ | Touch::LoadZ => {
                let at = self.translate(self.x[1], 0)?;
                let len = if touch == Touch::LoadQ { 16 } else { vl };
                let data = self.memory[at..at + len].to_vec();
                self.z[0][..vl].fill(0);
                self.z[0][..len].copy_from_slice(&data);
            }
            Touch::StoreQ => {
                let at = self.translate(self.x[1], 1 << 6)?;
                let low: Vec<u8> = self.z[30][..16].to_vec();
                self.memory[at..at + 16].copy_from_slice(&low);
            }
            Touch::LoadFirstFault => self.first_fault(vl)?,
            _ => unreachable!(),
        }
        Ok(())
    }

    fn first_fault(&mut self, vl: usize) -> Result<(), Exception> {
        let mut result = [0; 256];
        let (mut first, mut faulted) = (true, false);
        for element in 0..vl / 8 {
            let active = self.p[0][element] & 1 != 0;
            let mut data = [0; 8];
            if active {
                match self.translate(self.x[1] + 8 * element as u64, 0) {
                    Ok(at) => data.copy_from_slice(&self.memory[at..at + 8]),
                    Err(abort) if first => return Err(abort),
                    Err(_) => faulted = true,
                }
                first = false;
            }
            if faulted {
                self.ffr[element] = 0;
            }
            if self.ffr[element] & 1 == 0 {
                // Merging is one of the three choices.
                data.copy_from_slice(&self.z[0][8 * element..8 * element + 8]);
            }
            result[8 * element..8 * element + 8].copy_from_slice(&data);
        }
        self.z[0][..vl].copy_from_slice(&result[..vl]);
        Ok(())
    }

    /// Where an address lies in the hole pages, or the abort. `iss` is for a stage 2 fault (or WnR for both).
    fn translate(&self, address: u64, iss: u64) -> Result<usize, Exception> {
        let offset = (address - HOLE) as usize;
        if offset < 0x1000 {
            return Ok(offset);
        }
        let owner = match self.place() {
            Place::L1El0 => Place::L1,
            Place::L2El0 => Place::L2,
            Place::GEl0 => Place::G,
            place => place,
        };
        let abort = |el: u8, iss: u64| {
            let ec = if el == self.el { 0x25 } else { 0x24 };
            Exception {
                el,
                offset: 0,
                esr: Some(ec << 26 | 1 << 25 | iss | 7),
                after: false,
                far: Some(address),
            }
        };
        if self.unmapped.contains(&(0, owner)) {
            let el = if self.in_host(self.el) { 2 } else { self.el.max(1) };
            return Err(abort(el, iss & 1 << 6));
        }
        if self.unmapped.contains(&(1, Place::L1)) && self.el < 2 && !self.in_host(self.el) {
            return Err(abort(2, iss));
        }
        Ok(offset)
    }

    fn take(&mut self, exception: Exception, pc: u64, bug: &mut dyn Bug) -> Option<u64> {
        let exception = bug.exception(exception)?;
        let Exception { el, offset, esr, after, far } = exception;
        let from = self.el;
        let level = &mut self.levels[usize::from(el)];
        level.elr = if after { pc + 4 } else { pc };
        let t = from == 2 && !self.spsel;
        level.spsr = self.nzcv | self.daif | if t { 8 } else { [0, 5, 9][usize::from(from)] };
        level.esr = esr.unwrap_or(0xdead);
        level.far = far.unwrap_or(0xdead);
        level.hpfar = far.map_or(0xdead, |far| far >> 12 << 4);
        if offset == 0x180 && el == 1 {
            self.hcr &= !(1 << 8);
        }
        self.el = el;
        self.daif = 0x3c0;
        self.spsel = true;
        self.pass_through();
        // The payload's arrival stub withdraws what has arrived.
        match offset {
            0x80 => self.irq = false,
            0x180 => self.serror = false,
            _ => {}
        }
        Some(
            offset
                + if el > from {
                    0x400
                } else if t {
                    0
                } else {
                    0x200
                },
        )
    }

    fn arrival_record(&mut self, kind: Kind, op: usize, vector: u64, bug: &mut dyn Bug) {
        let mut words = [0; 42];
        words[..31].copy_from_slice(&self.x);
        let level = self.levels[usize::from(self.el)].clone();
        let stack = self.stack();
        words[31] = self.sp[stack];
        words[32] = self.sp_left[stack];
        words[33..38].copy_from_slice(&[level.esr, level.elr, level.spsr, level.far, level.hpfar]);
        words[38] = self.left_pc;
        words[39] = self.target_pc;
        words[40] = self.nzcv
            | if self.el == 0 { 0 } else { self.daif | u64::from(self.el) << 2 | u64::from(self.spsel) };
        words[41] = vector;
        let n = self.arrivals.saturating_sub(1);
        bug.in_record(n, &mut words);
        let body: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
        self.record(kind, op, &body);
    }

    fn record(&mut self, kind: Kind, op: usize, body: &[u8]) {
        self.ring.extend(MAGIC.to_le_bytes());
        self.ring.extend((kind as u16).to_le_bytes());
        self.ring.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
        self.ring.extend(u16::try_from(op).unwrap().to_le_bytes());
        self.ring.extend([self.place() as u8, 0]);
        self.ring.extend(self.seq.to_le_bytes());
        self.ring.extend(body);
        self.seq += 1;
    }
}

const GO: [Go; 15] = [
    Go::Eret,
    Go::EretBack,
    Go::Hvc,
    Go::Svc,
    Go::Smc,
    Go::Udf,
    Go::Brk,
    Go::Load,
    Go::Wfi,
    Go::WfiTimer,
    Go::Wfe,
    Go::Touch,
    Go::Actlr,
    Go::Reset,
    Go::Unmask,
];
