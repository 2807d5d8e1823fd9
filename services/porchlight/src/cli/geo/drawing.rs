//! A picture of polygons and of the places where something is wrong with them: SVG, for any browser.

use std::fmt::{self, Write as _};

use super::outline::{Outline, Position};

const WIDTH: f64 = 1000.0;
const HEIGHTS: (f64, f64) = (200.0, 3000.0);
/// Round the polygons.
const MARGIN: f64 = 30.0;
/// About a letter's width and a line's height, at the size of the labels.
const LETTER: (f64, f64) = (7.0, 15.0);
const RADIUS: f64 = 8.0;
const RED: &str = "#c00000";

/// A place where something is wrong.
#[derive(Debug)]
pub(super) struct Mark {
    pub(super) label: String,
    /// None: it is said in a corner.
    pub(super) at: Option<Position>,
}

/// North is up, and a degree of longitude is as much shorter than one of latitude as it is in the middle of the picture.
pub(super) fn svg(title: &str, outlines: &[Outline], marks: &[Mark]) -> String {
    let drawn = outlines.iter().flat_map(|outline| outline.parts.iter().flatten().flatten().copied());
    let frame = Frame::around(drawn.chain(marks.iter().filter_map(|mark| mark.at)));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height:.0}\" viewBox=\"0 0 {WIDTH} \
         {height:.0}\" font-family=\"sans-serif\" font-size=\"12\">\n<title>{title}</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
        height = frame.height,
        title = Escaped(title),
    );
    for (n, outline) in outlines.iter().enumerate() {
        draw(&mut svg, &frame, outline, &color(n));
    }
    let mut labels = Vec::new();
    for mark in marks {
        draw_mark(&mut svg, &frame, mark, &mut labels);
    }
    svg + "</svg>\n"
}

// A string can always be written to.
fn draw(svg: &mut String, frame: &Frame, outline: &Outline, color: &str) {
    let _ = writeln!(
        svg,
        "<g fill=\"{color}\" fill-opacity=\"0.4\" fill-rule=\"evenodd\" stroke=\"{color}\" stroke-linejoin=\"round\">\
         <title>{}</title>",
        Escaped(&outline.name)
    );
    // One path a part: parts are a union, and even-odd holds within each.
    for part in &outline.parts {
        svg.push_str("<path d=\"");
        for ring in part {
            let mut last = None;
            for position in ring {
                let (x, y) = frame.place(*position);
                let point = format!("{x:.2} {y:.2}");
                if last.as_ref() != Some(&point) {
                    let _ = write!(svg, "{}{point}", if last.is_none() { 'M' } else { 'L' });
                    last = Some(point);
                }
            }
            svg.push('Z');
        }
        svg.push_str("\"/>\n");
    }
    svg.push_str("</g>\n");
}

/// Where a label begins, and its width.
type Label = (f64, f64, f64);

fn draw_mark(svg: &mut String, frame: &Frame, mark: &Mark, labels: &mut Vec<Label>) {
    let width = mark.label.chars().count() as f64 * LETTER.0;
    let place = mark.at.map(|at| frame.visible(at));
    let (x, y) = match place {
        Some((x, y)) if x + RADIUS + 4.0 + width > WIDTH => (x - RADIUS - 4.0 - width, y + 4.0),
        Some((x, y)) => (x + RADIUS + 4.0, y + 4.0),
        None => (8.0, LETTER.1),
    };
    let y = free(labels, (x, y, width), frame.height);
    labels.push((x, y, width));
    if let Some((to_x, to_y)) = place {
        let _ = writeln!(
            svg,
            "<circle class=\"mark\" cx=\"{to_x:.2}\" cy=\"{to_y:.2}\" r=\"{RADIUS}\" fill=\"none\" stroke=\"{RED}\" \
             stroke-width=\"2\"/>"
        );
        if (y - to_y).abs() > RADIUS {
            let near = if x > to_x { x - 2.0 } else { x + width + 2.0 };
            let _ = writeln!(
                svg,
                "<path d=\"M{to_x:.2} {to_y:.2}L{near:.2} {:.2}\" stroke=\"{RED}\" stroke-width=\"0.5\"/>",
                y - 4.0
            );
        }
    }
    // The text's real width is the browser's to know: it ends where it was meant to.
    let (anchor, x) = if place.is_some_and(|(to_x, _)| x < to_x) { ("end", x + width) } else { ("start", x) };
    let _ = writeln!(
        svg,
        "<text x=\"{x:.2}\" y=\"{y:.2}\" text-anchor=\"{anchor}\" fill=\"{RED}\" stroke=\"#fff\" stroke-width=\"3\" \
         paint-order=\"stroke\">{}</text>",
        Escaped(&mark.label)
    );
}

/// The nearest height at which a label covers no other; where there is none, its own.
fn free(labels: &[Label], (x, y, width): Label, height: f64) -> f64 {
    let covers = |y: f64| {
        labels.iter().any(|&(other_x, other_y, other_width)| {
            x < other_x + other_width && other_x < x + width && (y - other_y).abs() < LETTER.1
        })
    };
    let ways = (0..100).map(|n: i32| f64::from((n + 1) / 2 * if n % 2 == 0 { -1 } else { 1 }));
    let tried = ways.map(|lines| y + lines * LETTER.1).filter(|y| (LETTER.1..height - 2.0).contains(y));
    tried.into_iter().find(|y| !covers(*y)).unwrap_or(y)
}

/// From degrees to the picture.
struct Frame {
    west: f64,
    north: f64,
    /// Of a degree of longitude and of latitude.
    scale: (f64, f64),
    /// Where the north-west is.
    corner: (f64, f64),
    height: f64,
}

impl Frame {
    /// Around all that is on the globe: one misplaced point must not make all others a dot.
    fn around(positions: impl Iterator<Item = Position>) -> Self {
        let on_globe = positions.filter(|(lon, lat)| lon.abs() <= 180.0 && lat.abs() <= 90.0);
        let around = on_globe.fold(None, |around: Option<(f64, f64, f64, f64)>, (lon, lat)| {
            let (west, south, east, north) = around.unwrap_or((lon, lat, lon, lat));
            Some((west.min(lon), south.min(lat), east.max(lon), north.max(lat)))
        });
        let (west, south, east, north) = around.unwrap_or_default();
        // Near a pole a degree of longitude is nearly nothing.
        let shorter = f64::midpoint(south, north).to_radians().cos().max(0.02);
        // What has no extent is drawn too.
        let (wide, high) = (((east - west) * shorter).max(1e-7), (north - south).max(1e-7));
        let room = (WIDTH - 2.0 * MARGIN, HEIGHTS.1 - 2.0 * MARGIN);
        let scale = (room.0 / wide).min(room.1 / high);
        let height = (high * scale + 2.0 * MARGIN).max(HEIGHTS.0).ceil();
        let corner = ((WIDTH - wide * scale) / 2.0, (height - high * scale) / 2.0);
        Self { west, north, scale: (shorter * scale, scale), corner, height }
    }

    /// Where a position is, or, if that is far outside the picture, in which direction.
    fn place(&self, (lon, lat): Position) -> (f64, f64) {
        let x = self.corner.0 + (lon - self.west) * self.scale.0;
        let y = self.corner.1 + (self.north - lat) * self.scale.1;
        (x.clamp(-9.0 * WIDTH, 10.0 * WIDTH), y.clamp(-9.0 * WIDTH, 10.0 * WIDTH))
    }

    /// The nearest place in the picture.
    fn visible(&self, position: Position) -> (f64, f64) {
        let (x, y) = self.place(position);
        (x.clamp(RADIUS + 2.0, WIDTH - RADIUS - 2.0), y.clamp(RADIUS + 2.0, self.height - RADIUS - 2.0))
    }
}

/// A hue for each number, far from those of the numbers before it (by the golden angle).
fn color(n: usize) -> String {
    let hue = (n as f64 * 137.508 + 210.0) % 360.0;
    let (saturation, lightness) = (0.6, 0.42);
    let reach = saturation * f64::min(lightness, 1.0 - lightness);
    let channel = |n: f64| {
        let k = (n + hue / 30.0) % 12.0;
        #[allow(clippy::cast_possible_truncation)] // from 0 to 255
        let byte = ((lightness - reach * (k - 3.0).min(9.0 - k).clamp(-1.0, 1.0)) * 255.0).round() as u8;
        byte
    };
    format!("#{:02x}{:02x}{:02x}", channel(0.0), channel(8.0), channel(4.0))
}

/// Text that is text in XML, whatever it holds.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;"),
                '<' => f.write_str("&lt;"),
                '>' => f.write_str("&gt;"),
                '"' => f.write_str("&quot;"),
                '\'' => f.write_str("&#39;"),
                // XML has no way to say these.
                '\u{fffe}' | '\u{ffff}' => f.write_char('\u{fffd}'),
                c if c.is_control() => f.write_char('\u{fffd}'),
                c => f.write_char(c),
            }?;
        }
        Ok(())
    }
}
