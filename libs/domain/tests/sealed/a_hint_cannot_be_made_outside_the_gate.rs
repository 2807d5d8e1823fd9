use porchlight_domain::{Alert, Hint};

fn leak(alert: &Alert) -> Hint {
    Hint::for_neighbor(alert)
}

fn main() {}
