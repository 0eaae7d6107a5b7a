//! The scenario language: parse, check, print.
//!
//! A scenario is a TOML file with the keys
//!
//! | key | what |
//! | --- | --- |
//! | `title` | what it is about, one line |
//! | `rules` | the rules that it checks, ids of [`crate::rules`] |
//! | `why` | which bug it would catch; optional |
//! | `[machine]` | fixed settings of the guest, [`settings::NAMES`]; optional |
//! | `[matrix]` | axes: lists of values of a setting, or of a `$name` in the steps; optional |
//! | `[[except]]` | combinations that make no case, each with its `reason`; optional |
//! | `[sweep]` | `kind` and `disturb` of the sweep it wants by default; optional |
//! | `steps` | the steps between three quotation marks, at the end or anywhere |
//!
//! and each step is one line, `<place> <verb> [operands]`, in which `#` begins a comment:
//!
//! | verb | operands |
//! | --- | --- |
//! | `fill` | registers: `all`, or a list of `z` `v` `p` `ffr` `fpsr` `fpcr` `fpmr` `z3` `v0-7` `p1` … |
//! | `expect` | registers, a control register, `vl`, or `trap ec=0x19` |
//! | `set` | a control register and its value |
//! | `vl` | `min` `mid` `max` or bits |
//! | `trap` `untrap` | `fp` `sve` |
//! | `touch` `try` | instructions by [`abi::op::Touch::name`] |
//! | `churn` | rounds |
//! | `eret` | a place, `L1t` `back` `skip` `illegal`; then `aa` `ab` `aa-bad` `ab-bad` `plain` |
//! | `hvc` `svc` `brk` | `#imm`, 0 if left out |
//! | `smc` | `#imm` as above: asks for PSCI_VERSION; or `cpu-suspend`, to standby |
//! | `abort` `unmap` `map` | `stage1` `stage2` |
//! | `pend` | `irq` `serror` `virq` `vserror` |
//! | `disturb` | `none` `clobber` `preempt` `host-simd` `other-vcpu` `migrate` `save-restore` |
//! | `vmm` | a check of the virtual machine monitor's by [`abi::doorbell::Check::name`]: `reg-list` `values` `host-za` … |
//! | `sweep` | `on` `off` |
//! | `wfi` | none, with something pending; or `timer`, which it sets and waits for, then `preempt` `other-vcpu` meanwhile |
//! | `timer` | `spin` `wfi`: sets the timer and waits so, unmasked above EL0, until its IRQ is taken, here or at L1 |
//! | `undef` `wfe` `actlr` `unmask` `reset` | none |
//!
//! A control register is written as the accessor's name at the place, `cptr_el2` or `cptr_el2.fpen` for one
//! field; `l2.zcr_el1` is L2's from L1, by whatever accessor L1 has for it.
//!
//! `$name` in a step stands for a value of that axis, be it a word, a part of one, or several words. Each
//! combination of the matrix is a case, `area::file[name=value,…]`, in which spaces are written `+`.
//!
//! ```
//! let text = r#"
//! title = "what L1 leaves in the registers is what L2 finds"
//! rules = ["P-81"]
//!
//! [matrix]
//! vl = ["min", "max"]
//!
//! steps = """
//! L1  vl $vl
//! L1  fill z p ffr    # a pattern that tells where it comes from
//! L1  eret L2
//! L2  expect all
//! """
//! "#;
//! let scenario = model::scenario::parse("nested::eret", "suites/nested/eret.toml", text)?;
//! let cases = scenario.cases();
//! assert_eq!(cases[1].name, "nested::eret[vl=max]");
//! assert_eq!(cases[1].steps[0].to_string(), "L1 vl max");
//! # Ok::<(), model::scenario::ParseError>(())
//! ```

mod case;
mod check;
mod display;
pub mod document;
mod error;
pub mod field;
mod grammar;
mod library;
mod lines;
mod names;
mod needs;
mod node;
mod operand;
mod print;
mod read;
pub mod settings;
pub mod step;
mod suggest;
mod template;
mod words;

use std::sync::Arc;

pub use case::Case;
pub use document::Document;
pub use error::ParseError;
pub use grammar::{VERBS, parse_step};
pub use library::{Shard, ShardError, load_embedded, matches, name_of_path};
pub use needs::{Need, Needs};
pub use words::StepError;

use error::Source;

/// A scenario that was found to be right: every case of it parses and makes sense as far as that can be told
/// without the oracle.
///
/// Two scenarios are equal if they have the same name and say the same.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// `area::file`.
    pub name: String,
    /// Its file.
    pub path: String,
    /// What it says.
    pub document: Document,
    /// Its text, as read.
    pub source: Arc<str>,
    cases: Vec<Case>,
}

impl Eq for Scenario {}

impl PartialEq for Scenario {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.document) == (&other.name, &other.document)
    }
}

impl Scenario {
    /// All combinations of the matrix but the excepted ones, at least one; the last axis varies fastest.
    #[must_use]
    pub fn cases(&self) -> Vec<Case> {
        self.cases.clone()
    }

    /// The canonical text, see [`Document::print`].
    #[must_use]
    pub fn print(&self) -> String {
        self.document.print()
    }
}

/// Parses the scenario file `text` and checks each of its cases.
///
/// `name` is what the cases' names begin with (see [`name_of_path`]), `path` what errors name.
///
/// # Errors
///
/// Returns the first thing that is wrong, with its place in the file.
pub fn parse(name: &str, path: &str, text: &str) -> Result<Scenario, ParseError> {
    let source = Source { path, text };
    let (document, positions) = read::read(source)?;
    let text: Arc<str> = text.into();
    let file = case::File { name, source, document: &document, positions: &positions };
    let cases = case::expand(file, &text)?;
    Ok(Scenario { name: name.to_owned(), path: path.to_owned(), document, source: text, cases })
}
