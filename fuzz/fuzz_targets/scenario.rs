//! A scenario file: what parses prints in a way that parses to the same, and its cases compile or say why not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::compile::compile;
use model::machine::{Machine, QemuCpu};
use model::scenario::parse;

/// A scenario may have thousands of cases: compiling these many finds what there is to find.
const CASES: usize = 8;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let scenario = match parse("fuzz::scenario", "suites/fuzz/scenario.toml", text) {
        Ok(scenario) => scenario,
        Err(error) => {
            // The error quotes the file: it must cope with whatever is there.
            let _ = error.to_string();
            return;
        }
    };
    let printed = scenario.print();
    let again =
        parse("fuzz::scenario", "suites/fuzz/scenario.toml", &printed).expect("what is printed parses");
    assert_eq!(again, scenario);
    assert_eq!(again.print(), printed);
    for case in scenario.cases().iter().take(CASES) {
        let guest = &case.guest;
        let cpu = QemuCpu {
            cpu: guest.cpu,
            sve: guest.sve,
            vl_max: guest.vl_max,
            sme: false,
            fpmr: true,
            poe: true,
        };
        for machine in [Machine::reference(&cpu, guest), Machine::bare(&cpu, guest)].into_iter().flatten() {
            let _ = compile(case, &machine, None).map_err(|error| error.to_string());
        }
    }
});
