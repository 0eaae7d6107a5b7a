//! EL2.
#![no_std]
#![no_main]
