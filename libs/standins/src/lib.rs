//! The outside world on loopback, for trying, developing and testing: real servers started from a cache, a broker and an
//! S3 server that are no processes of their own, a token issuer, and receivers that take pushes as phones would and record
//! what is shown.

pub mod broker;
pub mod fleet;
pub mod issuer;
mod kept;
pub mod phones;
pub mod s3;
pub mod servers;
mod serving;
