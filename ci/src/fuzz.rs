//! `cargo ci fuzz`.

use std::fs;

use anyhow::Context as _;
use xshell::cmd;

use crate::project::Project;
use crate::section::Section;

/// What is wanted, and lines of `apt-cache madison`.
const OFFERS: &str = "debian:6.12/oldest
linux-image-6.12.43+deb12-cloud-arm64 | 6.12.43-1~bpo12+1 | http://m.example/debian trixie/main arm64 Packages
linux-image-unsigned-6.12.107+deb13-arm64 | 6.12.107-1 | http://m.example/debian trixie/main arm64 Packages
linux-binary-7.3-cloud-arm64 | 1:7.3~rc7-1~exp1 | http://m.example/debian experimental/main arm64 Packages
";
/// Three bytes that say how to read the rest, and lines of a trace, each with a head of its own.
const TRACE: &str = "\x01\0\x08# tracer: nop
   init-117     [000] d..1.     3.123456: kvm_exit: TRAP: HSR_EC: 0x001a (ERET), PC: 0x00000000410038c4
   init-117     [000] d..1.     3.123457: kvm_nested_eret: elr_el2: 0x41007d80 spsr_el2: 0x000003c5 (M: EL1h)
   init-118     [001] d..1.     3.123458: kvm_entry: PC: 0x0000000041007d80
   init-117     [000] d..1.     3.123459: kvm_exit: TRAP: HSR_EC: 0x0024 (DABT_LOW), PC: 0x0000000041013dd8
";

/// Runs the fuzz targets one after the other, `seconds` each; stops at the first that finds something.
pub(crate) fn run(project: &Project, seconds: u32, targets: &[String]) -> anyhow::Result<()> {
    let sh = &project.shell;
    cmd!(sh, "cargo fuzz --version")
        .quiet()
        .ignore_stdout()
        .run()
        .context("this needs a C++ compiler and cargo-fuzz: `cargo install cargo-fuzz`")?;
    let all = cmd!(sh, "cargo fuzz list").read()?;
    let chosen: Vec<&str> =
        if targets.is_empty() { all.lines().collect() } else { targets.iter().map(String::as_str).collect() };
    for target in chosen {
        let _section = Section::new(format!("fuzz {target}, {seconds} s"));
        let folders = corpus(project, target)?;
        let time = format!("-max_total_time={seconds}");
        // The code under test is safe Rust: an address sanitizer finds nothing in it that a panic does not tell. Without
        // one, nothing here needs a nightly toolchain.
        let run = cmd!(sh, "cargo fuzz run --sanitizer none {target} {folders...}");
        run.args(["--", &time, "-print_final_stats=1"]).run()?;
    }
    Ok(())
}

/// The folders of inputs to begin with; what the fuzzer finds interesting goes into the first.
fn corpus(project: &Project, target: &str) -> anyhow::Result<Vec<String>> {
    let folder = format!("fuzz/corpus/{target}");
    let path = project.root().join(&folder);
    fs::create_dir_all(&path).with_context(|| format!("cannot make {folder}"))?;
    let mut folders = vec![folder];
    match target {
        "scenario" => folders.push("suites".to_owned()),
        "events" => {
            // The golden of the JSON report is an event log behind insta's own header.
            let golden = fs::read_to_string(project.root().join("golden/report/json.snap"))?;
            let log = golden.splitn(3, "---\n").nth(2).context("golden/report/json.snap has no header")?;
            fs::write(path.join("golden"), log)?;
        }
        "debian" => fs::write(path.join("seed"), OFFERS)?,
        "trace" => fs::write(path.join("seed"), TRACE)?,
        _ => {}
    }
    Ok(folders)
}
