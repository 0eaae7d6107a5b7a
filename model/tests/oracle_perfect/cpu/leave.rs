//! Leaving a place and arriving at another: instructions that may take an exception, exceptions, and returns.

use abi::op::{Go, Op, Touch};
use abi::record::{VECTOR_BOOT, VECTOR_NONE};
use model::compile::Program;

use super::{Bug, Cpu, Exception, Level};

/// Where the instruction of operation 0 lies; each has 16 bytes.
const SLOTS: u64 = 0x4100_0000;
/// Where the entry of place 0 lies; each has 16 bytes.
const ENTRIES: u64 = 0x4000_0000;

const GO: [Go; 16] = [
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
    Go::Timer,
    Go::Wfe,
    Go::Touch,
    Go::Actlr,
    Go::Reset,
    Go::Unmask,
];

impl Cpu {
    /// Runs the instruction of a `Go` and gives the vector by which the next place is reached.
    pub(super) fn go(
        &mut self,
        op: &Op,
        cursor: usize,
        image: &[u8],
        program: &Program,
        bug: &mut dyn Bug,
    ) -> u64 {
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
            Go::Timer => {
                assert_eq!(self.x[0], 1, "it is not turned on");
                self.irq = true;
                if self.el > 0 {
                    self.daif &= !0x80;
                }
                let exception = self.interrupt().expect("nothing ends this wait");
                return self.take(exception, pc, bug);
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
}
