//! A CPU that does everything right: a second, naive formulation of the architecture that runs programs.
//!
//! It shares nothing with the oracle: it holds plain bytes and registers, takes exceptions by writing ELR and
//! SPSR, and finds its place from them again, as hardware does.

mod access;
mod leave;
mod operations;

use abi::op::Code;
use abi::place::Place;
use abi::record::{Kind, MAGIC, VECTOR_NONE};
use abi::sysreg::SysReg;
use model::compile::Program;

/// Where the two hole pages lie.
pub const HOLE: u64 = 0x4180_0000;

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
