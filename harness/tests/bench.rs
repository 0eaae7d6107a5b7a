//! What `holdfast bench` counts is exact: the same on every run, and what the strategies promise.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[macro_use]
mod trials;

use std::sync::atomic::AtomicBool;

use harness::bench::{Matrix, Row, measure};
use trials::Missing;

tests! {
    counts_are_exact_and_elision_is_free,
}

/// Instructions that a round trip may take at depth 1, at any vector length.
const ELIDE_MAX: u64 = 700;
const PUT_LOAD_MAX: u64 = 1600;

fn counts_are_exact_and_elision_is_free() -> Result<(), Missing> {
    let qemu = trials::qemu()?;
    let matrix = Matrix { depths: vec![1, 2], vls: vec![128, 512], ..Matrix::default() };
    let rows = || measure(&qemu, &matrix, &AtomicBool::new(false), &mut |_| ()).unwrap();
    let first = rows();
    assert_eq!(first, rows());
    assert_eq!(first.len(), 8);
    for row in &first {
        let fp = |row: &Row| [row.traps_fp, row.saves, row.loads];
        match (row.nested, row.depth) {
            ("elide", 1) => assert!(row.instructions <= ELIDE_MAX, "{row:?}"),
            ("put-load", 1) => {
                assert!(row.instructions <= PUT_LOAD_MAX, "{row:?}");
                assert_eq!(fp(row), [2, 2, 2], "{row:?}");
            }
            _ => {}
        }
        if row.nested == "elide" {
            assert_eq!(fp(row), [0; 3], "{row:?}");
        } else {
            assert!(fp(row).iter().all(|count| *count >= 2), "{row:?}");
        }
    }
    // The length costs nothing in instructions: a register is one, whatever its length.
    for depth in [1, 2] {
        for nested in ["elide", "put-load"] {
            let of = |vl| first.iter().find(|row| (row.depth, row.nested, row.vl) == (depth, nested, vl));
            assert_eq!(of(128).unwrap().instructions, of(512).unwrap().instructions);
        }
    }
    Ok(())
}
