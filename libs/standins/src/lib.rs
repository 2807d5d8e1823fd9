//! The outside world on loopback, for trying, developing and testing: real servers started from a cache, a token issuer,
//! and receivers that take pushes as phones would and record what is shown.

pub mod fleet;
pub mod issuer;
pub mod phones;
pub mod servers;
mod serving;
