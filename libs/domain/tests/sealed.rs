//! G1, by the compiler: what another household or neighborhood owns leaves a service only through the gate.

use porchlight_domain::{Alert, Device, Home, Item, Resident};
use static_assertions::assert_not_impl_any;

// What is not `Serialize` cannot be put into a response: only the views that the gate makes are.
assert_not_impl_any!(Item: serde::Serialize);
assert_not_impl_any!(Alert: serde::Serialize);
assert_not_impl_any!(Device: serde::Serialize);
assert_not_impl_any!(Home: serde::Serialize);
assert_not_impl_any!(Resident: serde::Serialize);

#[test]
fn g1_only_the_gate_makes_what_may_leave() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/sealed/*.rs");
}
