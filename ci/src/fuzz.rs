//! `cargo ci fuzz`.

use anyhow::Context as _;
use xshell::cmd;

use crate::project::Project;
use crate::section::Section;

/// Runs the fuzz targets one after the other, `seconds` each; stops at the first that finds something.
pub(crate) fn run(project: &Project, seconds: u32, targets: &[String]) -> anyhow::Result<()> {
    let sh = &project.shell;
    cmd!(sh, "rustup run nightly cargo fuzz --version").quiet().ignore_stdout().run().context(
        "this needs a nightly toolchain, a C++ compiler and cargo-fuzz: `rustup toolchain install nightly`, \
         `cargo install cargo-fuzz`",
    )?;
    let all = cmd!(sh, "rustup run nightly cargo fuzz list").read()?;
    let chosen: Vec<&str> =
        if targets.is_empty() { all.lines().collect() } else { targets.iter().map(String::as_str).collect() };
    for target in chosen {
        let _section = Section::new(format!("fuzz {target}, {seconds} s"));
        let time = format!("-max_total_time={seconds}");
        cmd!(sh, "rustup run nightly cargo fuzz run {target} -- {time} -print_final_stats=1").run()?;
    }
    Ok(())
}
