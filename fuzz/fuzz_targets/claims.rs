//! What an agent claims of its KVM: a text as it comes, or ID registers as they come. Cases of the suite are then compiled
//! for its guests.
#![no_main]

use std::cell::RefCell;
use std::sync::{Arc, LazyLock};

use harness::kernel::{Kernel, KernelSpec};
use harness::kvm::boot::{Host, KvmMode};
use harness::kvm::claims::{Claims, GuestClaims};
use harness::kvm::mailbox::{ADDRESS, Mail, Reply, TEXT};
use harness::memory::GuestMemory;
use harness::options::{Options, TargetKind};
use harness::qemu::Version;
use harness::qemu::machine::Machine;
use harness::runner::{Planned, Sweeping};
use harness::suite::Suite;
use harness::target::{Target, TargetConfig};
use libfuzzer_sys::fuzz_target;
use model::scenario::Case;

static CASES: LazyLock<Vec<Arc<Case>>> =
    LazyLock::new(|| Suite::embedded().expect("the suite is right").cases());

thread_local! {
    static MEMORY: RefCell<GuestMemory> = RefCell::new(Machine::new_memory().expect("memory for a guest"));
}

fuzz_target!(|data: &[u8]| {
    let [kind, case @ .., low, high] = data else { return };
    let text = if kind.is_multiple_of(2) {
        case.to_vec()
    } else {
        serde_json::to_vec(&claims(case)).expect("claims have only texts and numbers")
    };
    let target = target(kind / 2);
    let greeted = MEMORY.with_borrow(|memory| {
        let mail = Mail { reply: Reply::Done as u64, text_len: text.len() as u64, ..Mail::default() };
        memory.write_value(ADDRESS, &mail).expect("a mailbox");
        memory.write(TEXT, &text).expect("room for a text");
        target.greeted(memory)
    });
    if greeted.is_err() {
        return;
    }
    let first = usize::from(u16::from_le_bytes([*low, *high]));
    // Neighbors are alike: one of each kind of guest is among cases that are far apart.
    for case in CASES.iter().cycle().skip(first % CASES.len()).step_by(CASES.len() / 8).take(8) {
        let _ = Planned::new(Arc::clone(case), &target, Sweeping::default());
    }
});

/// KVM as this byte wants it: of this machine, or of an emulated one in one of its modes.
fn target(byte: u8) -> Target {
    let mode = KvmMode::ALL.get(usize::from(byte % 8));
    let host = mode.map(|mode| Host {
        spec: KernelSpec::File("Image".into()),
        kernel: Kernel {
            image: "Image".into(),
            modules: None,
            name: String::new(),
            release: String::new(),
            banner: String::new(),
            sha256: String::new(),
            config_sha256: None,
        },
        mode: *mode,
        cpus: 2,
        sve_max: [2048, 512, 0][usize::from(byte / 8 % 3)],
        cmdline: String::new(),
    });
    let kind = if host.is_some() { TargetKind::KvmQemu } else { TargetKind::Kvm };
    let options = Options { target: kind, host, ..Options::default() };
    Target::new(TargetConfig::new(&options), Version::FULL).expect("a target")
}

/// Claims of which every register and switch is taken from `data`, over and over.
fn claims(data: &[u8]) -> Claims {
    let mut data = data.iter().copied().cycle();
    let mut next = || u64::from_le_bytes(std::array::from_fn(|_| data.next().unwrap_or(0)));
    let what = next();
    let bit = |number: u32| what >> number & 1 != 0;
    let mut guest = |there: u32| {
        let switches = next();
        let bit_of_guest = |number: u32| switches >> number & 1 != 0;
        let claims = GuestClaims {
            pfr0: next(),
            pfr1: next(),
            pfr2: next(),
            isar1: next(),
            isar2: next(),
            mmfr1: next(),
            mmfr3: next(),
            vls: next(),
            fpmr_hides: bit_of_guest(0),
            smc: bit_of_guest(1),
            gic: bit_of_guest(2),
            pauth_is_broken: bit_of_guest(3),
            tcr2_is_broken: bit_of_guest(4),
        };
        bit(there).then_some(claims)
    };
    Claims {
        release: format!("{}.{}", what >> 56, what >> 48 & 0xff),
        mode: if bit(4) { "VHE mode" } else { "Protected nVHE mode" }.to_owned(),
        cmdline: if bit(5) { "kvm-arm.mode=protected" } else { "" }.to_owned(),
        plain: guest(0),
        sve: guest(1),
        el2: guest(2),
        el2_e2h0: guest(3),
        refused: vec![("el2".to_owned(), "it refuses".to_owned())],
        ..Claims::default()
    }
}
