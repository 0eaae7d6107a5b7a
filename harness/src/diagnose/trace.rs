//! The hypervisor's trace, event by event, for people.

use abi::doorbell::{self, Disturbance};
use abi::fault::Fault;
use abi::hyp::{End, Event, TraceEvent, context};
use abi::sysreg::SysReg;

use super::Space;
use super::esr;
use crate::events::{self, Frame, Hex};

/// Decodes one event. `nested` says that the guest has an EL2, so that its EL1 is called L2 and not G.
#[must_use]
pub fn decode(event: &TraceEvent, nested: bool, space: &Space<'_>) -> events::Trace {
    events::Trace {
        event: event.event,
        context: event.context,
        pc: Hex(event.pc),
        arg: event.arg.map(Hex).to_vec(),
        text: text(event, nested, Some(space)),
        site: site(event, space),
    }
}

/// One event without any address or ID register: what another layout of the images or another QEMU does not change.
#[must_use]
pub fn summary(event: &TraceEvent, nested: bool) -> String {
    text(event, nested, None)
}

/// The address of the instruction that wrote the event, in the outermost hypervisor, if the event tells.
#[must_use]
pub fn site_address(event: &TraceEvent, space: &Space<'_>) -> Option<u64> {
    let offset = u64::from(event.context >> context::SITE_SHIFT) << 2;
    space.outermost().filter(|_| offset != 0)?.base.checked_add(offset)
}

/// The line of the hypervisor that the event tells of.
fn site(event: &TraceEvent, space: &Space<'_>) -> Option<Frame> {
    let mut frames = space.locate(site_address(event, space)?)?.position?.frames;
    without_tracing(&mut frames);
    if event.event == Event::Fault as u32 && frames.len() > 1 {
        // The line of interest is the one that asks whether the fault is on.
        frames.remove(0);
    }
    frames.into_iter().next()
}

/// Takes away the inlined frames of the tracing itself: what is of interest is who called it.
pub fn without_tracing(frames: &mut Vec<Frame>) {
    let caller = frames.iter().position(|frame| !TRACING.iter().any(|file| frame.file.ends_with(file)));
    frames.drain(..caller.unwrap_or(0));
}

/// The sources of the tracing: the program counter is read, then the event is written.
const TRACING: [&str; 2] = ["arch/src/hyp.rs", "reference-hyp/src/trace.rs"];

/// An event in words, with its addresses if there is a space to look them up in.
fn text(event: &TraceEvent, nested: bool, space: Option<&Space<'_>>) -> String {
    let Some(kind) = Event::from_u64(u64::from(event.event)) else {
        return format!("unknown event {}: {:#x} {:#x}", event.event, event.arg[0], event.arg[1]);
    };
    let place = place(event.context, nested);
    let live = if event.context & context::FP_LIVE == 0 { "" } else { " fp-live" };
    let detail = detail(kind, event.arg, space);
    let separator = if detail.is_empty() { "" } else { "  " };
    let pc = space.map_or_else(String::new, |space| format!("  pc {}", space.describe(event.pc)));
    format!("{:<16} {detail}{separator}{place}{live}{pc}", kind.name())
}

/// Where the guest was: L1, L2, G, or EL0, of which the context does not tell whose it is.
const fn place(bits: u32, nested: bool) -> &'static str {
    let el = (bits >> (context::MODE_SHIFT + 2)) & 0b11;
    if bits & context::VEL2 != 0 {
        "L1"
    } else if el == 0 {
        "EL0"
    } else if nested {
        "L2"
    } else {
        "G"
    }
}

fn detail(kind: Event, arg: [u64; 2], space: Option<&Space<'_>>) -> String {
    let [first, second] = arg;
    let to = || space.map(|space| format!("to {}", space.describe(second)));
    match kind {
        Event::Exit => {
            let far = space.filter(|_| has_address(first)).map(|_| format!("at {second:#x}"));
            words([Some(esr::describe(first)), far])
        }
        Event::Irq => format!("INTID {first}"),
        Event::NestedEret => words([to(), Some(format!("SPSR {first:#x}"))]),
        Event::NestedException | Event::Inject => {
            // An IRQ has no syndrome, and every exception with one has ESR_ELx.IL or a class.
            let cause = if first == 0 { "IRQ".to_owned() } else { esr::describe(first) };
            words([Some(cause), to()])
        }
        Event::FpSave | Event::FpLoad if first == 0 => "V registers".to_owned(),
        Event::FpSave | Event::FpLoad => format!("VL {}", first.saturating_mul(8)),
        Event::Traps => traps(first, second),
        Event::Put | Event::Load | Event::Reset => String::new(),
        Event::Disturb => Disturbance::from_u64(first)
            .map_or_else(|| format!("unknown {first}"), |what| what.name().to_owned()),
        Event::Point => format!("{first}"),
        Event::Doorbell => format!("{} {second:#x}", register(first)),
        Event::Sysreg => {
            let access = esr::sysreg(first);
            // Registers with a name hold fields, any other may hold an address; and the ID registers are QEMU's.
            let has_fields = SysReg::ALL
                .iter()
                .map(|reg| reg.name())
                .any(|name| !name.starts_with("id_") && access.split(' ').next_back() == Some(name));
            let value = (space.is_some() || has_fields).then(|| format!("{second:#x}"));
            words([Some(access), value])
        }
        Event::Stage2 => space.map_or_else(String::new, |_| format!("IPA {first:#x} descriptor {second:#x}")),
        Event::Fault => {
            Fault::from_u64(first).map_or_else(|| format!("unknown {first}"), |fault| fault.name().to_owned())
        }
        Event::End => {
            let end =
                End::from_u64(first).map_or_else(|| format!("unknown {first}"), |end| end.name().to_owned());
            format!("{end} {second:#x}")
        }
    }
}

/// What there is, with spaces between.
fn words(words: [Option<String>; 2]) -> String {
    words.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// Whether FAR_ELx is valid for this syndrome: aborts only.
const fn has_address(syndrome: u64) -> bool {
    use arch::esr::ec;
    matches!(
        arch::esr::class(syndrome),
        ec::IABORT_LOWER | ec::IABORT_SAME | ec::DABORT_LOWER | ec::DABORT_SAME | ec::PC_ALIGN
    )
}

/// CPTR_EL2 with HCR_EL2.E2H = 1, and ZCR_EL2.
fn traps(cptr: u64, zcr: u64) -> String {
    let field = |shift: u32| (cptr >> shift) & 0b11;
    let vl = ((zcr & 0xf) + 1) * 128;
    format!("FPEN={:02b} ZEN={:02b} SMEN={:02b} LEN for VL {vl}", field(20), field(16), field(24))
}

fn register(offset: u64) -> String {
    match offset {
        doorbell::END => "end".to_owned(),
        doorbell::DISTURB => "disturb".to_owned(),
        doorbell::WINDOW => "window".to_owned(),
        doorbell::SWEEP_BEGIN => "sweep-begin".to_owned(),
        doorbell::SWEEP_END => "sweep-end".to_owned(),
        doorbell::IRQ => "irq".to_owned(),
        doorbell::RESET => "reset".to_owned(),
        doorbell::PUTC => "putc".to_owned(),
        doorbell::DISTURBED => "disturbed".to_owned(),
        other => format!("+{other:#x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(event: Event, context: u32, arg: [u64; 2]) -> String {
        let event = TraceEvent { event: event as u32, context, pc: 0x4100_0010, arg };
        decode(&event, true, &Space::default()).text
    }

    #[test]
    fn events_are_readable() {
        let el1 = 0b0101 << context::MODE_SHIFT;
        assert_eq!(
            line(Event::Exit, el1 | context::FP_LIVE, [0x6600_0000, 0]),
            "exit             EC 0x19 SVE access  L2 fp-live  pc 0x41000010"
        );
        assert_eq!(
            line(Event::Traps, context::VEL2, [0b11 << 20 | 0b01 << 16, 3]),
            "traps            FPEN=11 ZEN=01 SMEN=00 LEN for VL 512  L1  pc 0x41000010"
        );
        assert_eq!(line(Event::Put, 0, [0, 0]), "put              EL0  pc 0x41000010");
        assert_eq!(line(Event::FpSave, el1, [32, 0]), "fp-save          VL 256  L2  pc 0x41000010");
    }

    #[test]
    fn a_summary_has_no_address() {
        let of = |event: Event, arg| {
            let event = TraceEvent { event: event as u32, context: context::VEL2, pc: 0x4100_0010, arg };
            summary(&event, true)
        };
        assert_eq!(of(Event::NestedEret, [0x3c5, 0x4180_0000]), "nested-eret      SPSR 0x3c5  L1");
        assert_eq!(
            of(Event::Exit, [0x9200_0047, 0x4180_0000]),
            "exit             EC 0x24 data abort, write, translation fault, level 3  L1"
        );
        assert_eq!(of(Event::Inject, [0x5a00_0003, 0x4180_0000]), "inject           EC 0x16 HVC, #0x3  L1");
        assert_eq!(of(Event::NestedException, [0, 0x4180_0000]), "nested-exception IRQ  L1");
        let undefined = 1 << 25;
        assert_eq!(
            of(Event::Inject, [undefined, 0x4180_0000]),
            "inject           EC 0x00 unknown reason  L1"
        );
        assert_eq!(of(Event::Stage2, [0x4180_0000, 0x4180_07ff]), "stage2           L1");
        let zcr_el2 = 3 << 20 | 4 << 14 | 1 << 10 | 2 << 1;
        assert_eq!(of(Event::Sysreg, [zcr_el2, 3]), "sysreg           write zcr_el2 0x3  L1");
        let id_aa64pfr0_el1 = 3 << 20 | 4 << 1 | 1;
        assert_eq!(of(Event::Sysreg, [id_aa64pfr0_el1, 3]), "sysreg           read id_aa64pfr0_el1  L1");
        let vbar_el1 = 3 << 20 | 12 << 10;
        assert_eq!(of(Event::Sysreg, [vbar_el1, 0x4180_0000]), "sysreg           write s3_0_c12_c0_0  L1");
    }

    #[test]
    fn the_tracing_is_no_site() {
        let frame = |file: &str| Frame { file: file.into(), ..Frame::default() };
        let mut frames = vec![frame("arch/src/hyp.rs"), frame("reference-hyp/src/trace.rs"), frame("a.rs")];
        without_tracing(&mut frames);
        assert_eq!(frames, [frame("a.rs")]);
        let mut only = vec![frame("reference-hyp/src/trace.rs")];
        without_tracing(&mut only);
        assert_eq!(only.len(), 1);
    }

    #[test]
    fn hostile_numbers_are_shown_as_such() {
        let event = TraceEvent { event: 999, context: u32::MAX, pc: u64::MAX, arg: [u64::MAX; 2] };
        let decoded = decode(&event, false, &Space::default());
        assert_eq!(decoded.text, "unknown event 999: 0xffffffffffffffff 0xffffffffffffffff");
        assert_eq!(decoded.site, None);
        for kind in Event::ALL {
            let event = TraceEvent { event: *kind as u32, ..event };
            assert!(decode(&event, false, &Space::default()).text.starts_with(kind.name()));
        }
    }
}
