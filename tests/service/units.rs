//! The units.
