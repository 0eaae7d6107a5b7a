//! Assembly and pure decoders.
#![no_std]
