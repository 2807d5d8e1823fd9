use porchlight_domain::{Item, view::ItemView};

fn leak(item: &Item) -> ItemView {
    ItemView::for_household(item)
}

fn main() {}
