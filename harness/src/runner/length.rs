//! A vector length that is so wrong that a pass has no well-formed ring: the payload could not fill the registers,
//! or the length changed while it stored them. Both accuse the target, so both become findings.

use abi::op::{Code, RDVL};
use abi::pattern::Owner;
use abi::record::{FpImage, Kind, RecordHeader, RegisterValue};
use model::compile::Program;
use model::judge::{FailureClass, RegisterName};
use zerocopy::FromBytes as _;

use crate::result::Finding;

/// Bytes of the record that tells of a refused fill.
const REFUSAL: usize = size_of::<RecordHeader>() + size_of::<RegisterValue>();

/// What the payload tells of a fill that it refused, and the records before that one.
pub(super) fn refused_fill<'a>(program: &Program, ring: &'a [u8]) -> Option<(Finding, &'a [u8])> {
    let (before, last) = ring.split_at_checked(ring.len().checked_sub(REFUSAL)?)?;
    let (header, body) = RecordHeader::read_from_prefix(last).ok()?;
    let value = RegisterValue::read_from_bytes(body).ok()?;
    let op = program.ops.get(usize::from(header.op))?;
    let is_refusal = header.magic == abi::record::MAGIC
        && header.kind == Kind::Register as u16
        && value.reg == u64::from(RDVL)
        && op.code == Code::Fill as u16;
    let wanted = u64::from(op.data_len).checked_sub(FpImage::LEN as u64)? / 32;
    (is_refusal && value.value > wanted)
        .then(|| (wrong_length(program, header.op, wanted, value.value), before))
}

/// What a dump at `offset` tells if its own length and the one that the payload made room for differ, and the
/// records before it.
pub(super) fn changed_in_dump<'a>(
    program: &Program,
    ring: &'a [u8],
    offset: usize,
) -> Option<(Finding, &'a [u8])> {
    let (before, rest) = ring.split_at_checked(offset)?;
    let (header, body) = RecordHeader::read_from_prefix(rest).ok()?;
    let (image, _) = FpImage::read_from_prefix(body).ok()?;
    let op = program.ops.get(usize::from(header.op))?;
    if header.kind != Kind::Dump as u16 || op.code != Code::Dump as u16 {
        return None;
    }
    let room = u64::from(header.len).checked_sub(FpImage::LEN as u64)? / 32;
    let is_length = |vl: u64| (16..=abi::VL_BYTES_MAX as u64).contains(&vl) && vl.is_multiple_of(16);
    (is_length(room) && is_length(image.vl_bytes) && room != image.vl_bytes)
        .then(|| (wrong_length(program, header.op, room, image.vl_bytes), before))
}

/// A finding of the vector length at operation `op`; both lengths are in bytes.
fn wrong_length(program: &Program, op: u16, expected: u64, seen: u64) -> Finding {
    let index = usize::from(op);
    let step = program.ops.get(index).map_or(0, |op| usize::from(op.step));
    let note = program.steps.get(step);
    let last = program.checks().take_while(|check| check.op <= index).last();
    Finding {
        step,
        op: index,
        line: note.map_or(0, |note| note.line),
        place: note.map_or(program.home, |note| note.place),
        rules: vec!["P-50", "P-51"],
        what: RegisterName::Vl,
        holder: Owner::Scenario,
        class: FailureClass::WrongLength,
        origin: None,
        expected: vec![expected.to_le_bytes().to_vec()],
        actual: seen.to_le_bytes().to_vec(),
        lanes: Vec::new(),
        transition: last.and_then(|check| check.transition).map(|transition| transition.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use abi::place::Place;
    use model::compile::compile_steps;
    use model::machine::{Machine, QemuCpu};
    use model::scenario::step::{Cpu, Expect, GuestSpec, RegSet, Step, Verb};
    use zerocopy::{FromZeros as _, IntoBytes as _};

    use super::*;

    /// A plain guest of 512 bits at most that fills Z0 to Z31 and dumps them.
    fn program() -> Program {
        let guest = GuestSpec { fpmr: false, ..GuestSpec::default() };
        let cpu = QemuCpu { cpu: Cpu::Max, sve: true, vl_max: 2048, sme: false, fpmr: false, poe: false };
        let set = RegSet { mask: abi::op::mask::Z, all: false };
        let step = |verb, line| Step { place: Place::G, verb, line };
        let steps = [step(Verb::Fill(set), 1), step(Verb::Expect(Expect::Registers(set)), 2)];
        compile_steps(&guest, &steps, &Machine::reference(&cpu, &guest).unwrap(), None).unwrap()
    }

    fn header(program: &Program, code: Code, kind: Kind, len: usize) -> RecordHeader {
        let op = program.ops.iter().position(|op| op.code == code as u16).unwrap();
        let mut header = RecordHeader::new_zeroed();
        (header.magic, header.kind) = (abi::record::MAGIC, kind as u16);
        (header.op, header.len) = (op as u16, len as u32);
        header
    }

    fn refusal(program: &Program, code: Code, reg: u16, vl: u64) -> Vec<u8> {
        let header = header(program, code, Kind::Register, size_of::<RegisterValue>());
        [header.as_bytes(), RegisterValue { reg: reg.into(), value: vl }.as_bytes()].concat()
    }

    #[test]
    fn a_refused_fill_is_a_wrong_length() {
        let program = program();
        let ring = [vec![7; 48], refusal(&program, Code::Fill, RDVL, 256)].concat();
        let (finding, before) = refused_fill(&program, &ring).unwrap();
        assert_eq!((finding.class, finding.what), (FailureClass::WrongLength, RegisterName::Vl));
        assert_eq!((finding.line, finding.place), (1, Place::G));
        assert_eq!((finding.expected[0][0], finding.actual[1]), (64, 1));
        assert_eq!(before, [7; 48]);
    }

    #[test]
    fn what_is_no_refusal_is_none() {
        let program = program();
        assert!(refused_fill(&program, &refusal(&program, Code::Fill, RDVL, 64)).is_none(), "it would fit");
        assert!(refused_fill(&program, &refusal(&program, Code::Fill, 1, 256)).is_none(), "another register");
        assert!(refused_fill(&program, &refusal(&program, Code::Dump, RDVL, 256)).is_none(), "not of a fill");
        let whole = refusal(&program, Code::Fill, RDVL, 256);
        for cut in 0..whole.len() {
            assert!(refused_fill(&program, &whole[..cut]).is_none(), "{cut} bytes");
        }
    }

    #[test]
    fn a_length_that_changes_in_a_dump_is_found() {
        let program = program();
        let dump = |room: usize, vl: u64| {
            let mut image = FpImage::new_zeroed();
            image.vl_bytes = vl;
            let header = header(&program, Code::Dump, Kind::Dump, FpImage::LEN + 32 * room);
            [header.as_bytes(), image.as_bytes(), &vec![0; 32 * room]].concat()
        };
        let finding = |ring: &[u8]| changed_in_dump(&program, ring, 0).map(|(finding, _)| finding.class);
        assert_eq!(finding(&dump(64, 256)), Some(FailureClass::WrongLength));
        assert_eq!(finding(&dump(64, 64)), None);
        assert_eq!(finding(&dump(64, 63)), None, "no vector length: the record lies");
        assert_eq!(finding(&dump(64, 64)[..100]), None);
        assert!(changed_in_dump(&program, &dump(64, 256), usize::MAX).is_none());
    }
}
