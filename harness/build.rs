//! Builds the bare-metal images and embeds them, with their DWARF, and `suites/`.
//!
//! Cargo cannot yet make a package depend on another's binary for another target, so this script runs a
//! second cargo with a target directory of its own: the outer one holds the lock of the usual one.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// The FP registers are state under test: compiled code must not touch them.
const TARGET: &str = "aarch64-unknown-none-softfloat";
const PROFILE: &str = "image";
/// What an arm64 Linux host runs, and what is `/init` of an emulated one: static, and linked without a C toolchain.
const AGENT_TARGET: &str = "aarch64-unknown-linux-musl";
const AGENT_PROFILE: &str = "agent";
/// Set in the build of the agent: where the images are that this one built.
const IMAGES: &str = "HOLDFAST_IMAGES";
/// What an image is made from, relative to the workspace.
const INPUTS: [&str; 8] = [
    "abi",
    "arch",
    "guest-payloads",
    "reference-hyp",
    "suites",
    "Cargo.lock",
    "Cargo.toml",
    "rust-toolchain.toml",
];
/// What the agent is made from beside these.
const AGENT_INPUTS: [&str; 2] = ["harness", "model"];
/// Variables of cargo that say where packages come from; all others describe the outer build.
const CARGO_KEPT: [&str; 7] = [
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_MAKEFLAGS",
    "CARGO_NET_",
    "CARGO_REGISTRIES_",
    "CARGO_REGISTRY_",
    "CARGO_SOURCE_",
];

type Result<T> = std::result::Result<T, Box<dyn Error>>;

struct Build {
    /// The constant under which the image is embedded.
    name: &'static str,
    package: &'static str,
    binary: &'static str,
    features: &'static str,
}

impl Build {
    /// The name of its ELF file in the folder of images.
    fn elf(&self) -> String {
        format!("{}.elf", self.name.to_lowercase())
    }
}

const BUILDS: [Build; 3] = [
    Build { name: "SCENARIO", package: "guest-payloads", binary: "scenario", features: "" },
    Build { name: "REFERENCE_HYP", package: "reference-hyp", binary: "reference-hyp", features: "" },
    Build {
        name: "REFERENCE_HYP_FAULTS",
        package: "reference-hyp",
        binary: "reference-hyp",
        features: "faults",
    },
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not by `Debug`, which would escape the compiler's messages.
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let manifest_dir = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let root = manifest_dir.parent().ok_or("harness/ has no parent folder")?;
    let out = PathBuf::from(env::var("OUT_DIR")?);

    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={IMAGES}");
    let is_agent = env::var("TARGET")? == AGENT_TARGET;
    for input in INPUTS.into_iter().chain(AGENT_INPUTS.into_iter().filter(|_| !is_agent)) {
        println!("cargo::rerun-if-changed={}", root.join(input).display());
    }

    if let Some(commit) = commit(root) {
        println!("cargo::rustc-env=HOLDFAST_COMMIT={commit}");
    }
    let given = env::var_os(IMAGES).map(PathBuf::from);
    if given.is_none() {
        provide_target(TARGET)?;
    }
    let mut images = String::new();
    for build in &BUILDS {
        let elf = match &given {
            Some(folder) => folder.join(build.elf()),
            None => image(build, root, &out)?,
        };
        writeln!(
            images,
            "/// `{}`{}.\npub static {}: &[u8] = &Aligned(*include_bytes!({elf:?})).0;",
            build.binary,
            if build.features.is_empty() { String::new() } else { format!(" with `{}`", build.features) },
            build.name
        )?;
    }
    // The agent is itself what would be embedded.
    let agent = if is_agent { None } else { Some(agent(root, &out)?) };
    let bytes = agent.map_or_else(|| "None".to_owned(), |elf| format!("Some(include_bytes!({elf:?}))"));
    writeln!(
        images,
        "/// `holdfast` for arm64 Linux, static; none in that very program.\npub static AGENT: Option<&[u8]> = {bytes};"
    )?;
    fs::write(out.join("images.rs"), images)?;
    fs::write(out.join("suites.rs"), suites(&root.join("suites"))?)?;
    Ok(())
}

/// The commit that is built, for the log of a run: the variable of the same name, else what git says; none for sources
/// that are in no repository of their own.
fn commit(root: &Path) -> Option<String> {
    println!("cargo::rerun-if-env-changed=HOLDFAST_COMMIT");
    if let Ok(commit) = env::var("HOLDFAST_COMMIT") {
        return Some(commit);
    }
    let head = root.join(".git").join("HEAD");
    if !head.exists() {
        return None;
    }
    println!("cargo::rerun-if-changed={}", head.display());
    // HEAD names a branch; this file grows with every commit.
    let log = root.join(".git").join("logs").join("HEAD");
    if log.exists() {
        println!("cargo::rerun-if-changed={}", log.display());
    }
    let output = Command::new("git")
        .current_dir(root)
        .args(["describe", "--always", "--dirty"])
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let commit = String::from_utf8(output.stdout).ok()?;
    Some(commit.trim().to_owned()).filter(|commit| output.status.success() && !commit.is_empty())
}

/// Adds a target to the toolchain if it is not there.
fn provide_target(target: &str) -> Result<()> {
    let rustc = env::var("RUSTC")?;
    let output = Command::new(&rustc).args(["--print", "target-libdir", "--target", target]).output()?;
    let libdir = PathBuf::from(String::from_utf8(output.stdout)?.trim());
    if output.status.success() && libdir.is_dir() {
        return Ok(());
    }
    let mend = format!("run `rustup target add {target}` in this folder");
    match Command::new("rustup").args(["target", "add", target]).stdout(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cannot add the Rust target {target} ({status}): {mend}").into()),
        Err(error) => Err(format!(
            "the Rust target {target} is missing and rustup cannot be started ({error}): install rustup, \
             then {mend}"
        )
        .into()),
    }
}

/// Where cargo keeps the sources of dependencies.
fn cargo_home() -> PathBuf {
    let own = || env::home_dir().unwrap_or_default().join(".cargo");
    env::var_os("CARGO_HOME").map_or_else(own, PathBuf::from)
}

/// Builds one image and copies its ELF to a place that no later build overwrites.
fn image(build: &Build, root: &Path, out: &Path) -> Result<PathBuf> {
    // Features change the fingerprint, and one target directory for both builds would rebuild each time.
    let target_dir = out.join(build.name.to_lowercase());
    let script = root.join("arch").join("image.ld");
    let rustflags = [
        "-Crelocation-model=pie".to_owned(),
        "-Clink-arg=-pie".to_owned(),
        "-Clink-arg=--no-dynamic-linker".to_owned(),
        // The shipped `core` is not position independent: the image relocates itself, text excepted.
        "-Clink-arg=-znorelro".to_owned(),
        "-Clink-arg=-znotext".to_owned(),
        format!("-Clink-arg=-T{}", script.display()),
        "-Cforce-frame-pointers=yes".to_owned(),
        format!("--remap-path-prefix={}=.", root.display()),
        // Of code from elsewhere that was inlined; whose home it was is nobody's business.
        format!("--remap-path-prefix={}=cargo", cargo_home().display()),
    ];
    let mut cargo = cargo(root, &rustflags)?;
    cargo
        .args(["--profile", PROFILE, "--target", TARGET])
        .args(["--package", build.package, "--bin", build.binary, "--features", build.features])
        .arg("--target-dir")
        .arg(&target_dir);
    built(cargo, &format!("the image of {}", build.package))?;
    let elf = out.join(build.elf());
    let built = target_dir.join(TARGET).join(PROFILE).join(build.binary);
    fs::copy(&built, &elf).map_err(|error| format!("cannot copy {}: {error}", built.display()))?;
    Ok(elf)
}

/// Builds this very program for arm64 Linux, with the images that are already there.
fn agent(root: &Path, out: &Path) -> Result<PathBuf> {
    provide_target(AGENT_TARGET)?;
    // Beside the outer builds, whose profiles and checks then share it: <target>/<profile>/build/<package>/out.
    let target_dir = out.ancestors().nth(4).unwrap_or(out).join("agent");
    let rustflags = [
        "-Clinker=rust-lld".to_owned(),
        "-Clink-self-contained=yes".to_owned(),
        "-Ctarget-feature=+crt-static".to_owned(),
        format!("--remap-path-prefix={}=.", root.display()),
        format!("--remap-path-prefix={}=cargo", cargo_home().display()),
    ];
    let mut cargo = cargo(root, &rustflags)?;
    cargo
        .args(["--profile", AGENT_PROFILE, "--target", AGENT_TARGET])
        .args(["--package", "harness", "--bin", "holdfast"])
        .arg("--target-dir")
        .arg(&target_dir)
        .env(IMAGES, out);
    built(cargo, "holdfast for arm64 Linux")?;
    let elf = out.join("agent.elf");
    let built = target_dir.join(AGENT_TARGET).join(AGENT_PROFILE).join("holdfast");
    fs::copy(&built, &elf).map_err(|error| format!("cannot copy {}: {error}", built.display()))?;
    Ok(elf)
}

/// A build by a cargo that knows nothing of the outer one.
fn cargo(root: &Path, rustflags: &[String]) -> Result<Command> {
    let mut cargo = Command::new(env::var("CARGO")?);
    cargo.current_dir(root).args(["build", "--quiet", "--locked"]);
    for (key, _) in env::vars_os() {
        let Some(name) = key.to_str() else { continue };
        let of_outer_build = (name.starts_with("CARGO")
            && !CARGO_KEPT.iter().any(|kept| name.starts_with(kept)))
            || name.starts_with("RUSTC")
            || name.starts_with("RUSTDOC")
            || name == "RUSTFLAGS";
        if of_outer_build {
            cargo.env_remove(name);
        }
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", rustflags.join("\u{1f}"));
    Ok(cargo)
}

/// Runs a build; what it prints is shown only if it fails.
fn built(mut cargo: Command, what: &str) -> Result<()> {
    let output = cargo.output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("cannot build {what}\n{}", String::from_utf8_lossy(&output.stderr)).into())
}

/// The table of the embedded scenario files, sorted by name.
fn suites(folder: &Path) -> Result<String> {
    let mut files = Vec::new();
    walk(folder, &mut files)?;
    files.sort();
    let mut table = String::from(
        "/// Every file of `suites/`: its path there, with `/`, and its text.\n\
         pub static EMBEDDED_SUITES: &[(&str, &str)] = &[\n",
    );
    for file in files {
        let name =
            file.strip_prefix(folder)?.to_str().ok_or("a name in suites/ is not UTF-8")?.replace('\\', "/");
        writeln!(table, "    ({name:?}, include_str!({file:?})),")?;
    }
    table.push_str("];\n");
    Ok(table)
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(|error| format!("cannot read {}: {error}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    Ok(())
}
