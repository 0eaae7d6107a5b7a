//! Tests that find out only when they run whether this machine has what they need. One that cannot run is ignored, with
//! its reason, and has not passed: libtest knows only tests that pass or fail, and keeps back what they print.

use std::env;
use std::process::ExitCode;
use std::sync::LazyLock;

use harness::qemu::{self, Qemu};
use libtest_mimic::{Arguments, Completion, Trial};

/// What a test needs and this machine has not got, and why.
#[derive(Clone, Debug)]
pub struct Missing(String);

impl<E: Into<anyhow::Error>> From<E> for Missing {
    fn from(error: E) -> Self {
        Self(format!("{:#}", error.into()))
    }
}

/// What a test returns that did not fail.
pub trait Ran {
    /// Whether it ran.
    fn ran(self) -> Result<(), Missing>;
}

impl Ran for () {
    fn ran(self) -> Result<(), Missing> {
        Ok(())
    }
}

impl Ran for Result<(), Missing> {
    fn ran(self) -> Self {
        self
    }
}

/// The `main` of a target with these tests.
macro_rules! tests {
    ($($test:path,)*) => {
        fn main() -> std::process::ExitCode {
            trials::run(vec![$(trials::trial(stringify!($test), $test)),*])
        }
    };
}

/// One test.
pub fn trial<R: Ran + 'static>(name: &str, test: fn() -> R) -> Trial {
    Trial::ignorable_test(name, move || match test().ran() {
        Ok(()) => Ok(Completion::Completed),
        // Under nextest each trial is a process, and one that ends well has passed.
        Err(Missing(why)) if env::var_os("NEXTEST").is_some() => Err(why.into()),
        Err(Missing(why)) => Ok(Completion::ignored_with(why)),
    })
}

/// Runs what the command line asks for.
pub fn run(tests: Vec<Trial>) -> ExitCode {
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}

/// The QEMU of this machine, provisioned if need be.
pub fn qemu() -> Result<Qemu, Missing> {
    static QEMU: LazyLock<Result<Qemu, Missing>> =
        LazyLock::new(|| Ok(qemu::find(&qemu::Settings::from_env(), &mut |text| eprintln!("{text}"))?));
    QEMU.clone()
}
