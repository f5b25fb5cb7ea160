//! Tests of the C library: its header and symbols, and programs in C on real emulators.

mod header;
mod programs;
mod symbols;
