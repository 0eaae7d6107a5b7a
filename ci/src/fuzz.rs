//! `cargo ci fuzz`.

use std::fs;

use anyhow::Context as _;
use xshell::cmd;

use crate::project::Project;
use crate::section::Section;

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
        _ => {}
    }
    Ok(folders)
}
