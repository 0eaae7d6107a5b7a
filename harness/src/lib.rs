//! Harness.
#![deny(unsafe_code)]

pub mod bench;
pub mod cli;
pub mod diagnose;
pub mod doctor;
pub mod events;
pub mod expectations;
pub mod image;
pub mod limits;
pub mod memory;
pub mod options;
pub mod progress;
pub mod qemu;
pub mod recorder;
pub mod report;
pub mod result;
pub mod run_folder;
pub mod runner;
pub mod suite;
pub mod target;
