//! The scenario language: parse, check, print.

pub mod step;
