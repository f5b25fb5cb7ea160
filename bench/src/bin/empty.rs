//! Does nothing: measures the cost of a process by itself.

fn main() {}
