//! How the doorbell is rung, from where.

use abi::op::{Code, flag};
use abi::place::Place;
use model::compile::compile_steps;
use model::machine::Doorbell;

use super::{VHE, guest, machine, steps};

/// The places that ring, and whether they do by a call.
fn rings(text: &str, way: Doorbell) -> Vec<(u8, bool)> {
    let guest = guest(VHE);
    let mut machine = machine(&guest);
    machine.hooks.doorbell = Some(way);
    let program = compile_steps(&guest, &steps(text), &machine, None).unwrap();
    let rings = program.ops.iter().filter(|op| op.code == Code::Doorbell as u16);
    rings.map(|op| (op.place, op.flags & flag::CALL != 0)).collect()
}

#[test]
fn a_call_only_where_it_gets_through() {
    let text = "L1 disturb clobber\nL1 eret L2\nL2 disturb clobber\nL2 eret L2.el0\nL2.el0 disturb clobber";
    let places = [Place::L1, Place::L2, Place::L2El0].map(|place| place as u8);
    assert_eq!(rings(text, Doorbell::Smc), [(places[0], true), (places[1], true), (places[2], false)]);
    assert_eq!(rings(text, Doorbell::Mmio), places.map(|place| (place, false)));
    // L1 would get the call of its guest.
    let text = "L1 set hcr_el2.tsc 1\nL1 disturb clobber\nL1 eret L2\nL2 disturb clobber";
    assert_eq!(rings(text, Doorbell::Smc), [(places[0], true), (places[1], false)]);
}
