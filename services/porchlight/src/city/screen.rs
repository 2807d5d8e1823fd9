//! One screen that refreshes: what happens, how far behind each stage is, whether anything went astray, and what reached
//! one resident and why. On a terminal it is redrawn in place; elsewhere it is printed now and then.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    io::{IsTerminal, Write as _},
    time::Duration,
};

use super::own::Cost;

/// What one frame shows.
#[derive(Clone, Debug, Default)]
pub(super) struct Frame {
    /// What stands under the title: homes, cameras, neighborhoods, seed.
    pub(super) about: String,
    /// What it stands on.
    pub(super) ground: &'static str,
    /// How long the city has lived.
    pub(super) up: Duration,
    /// Events accepted, items indexed, alerts planned, pushes handed over: since the start.
    pub(super) totals: [f64; 4],
    /// Records behind: geo-index, plan, send.
    pub(super) lag: [f64; 3],
    /// Acceptance to phone, ms: median and 99th percentile, since the start; `None` before the first.
    pub(super) latency_ms: Option<(u64, u64)>,
    /// What this process costs, if it is all there is.
    pub(super) own: Option<Cost>,
    /// Sendings that were not answered 202, and were tried again.
    pub(super) refused: u64,
    /// Outcomes of events, with their counts.
    pub(super) outcomes: Vec<(&'static str, f64)>,
    /// Judged pushes, and those that are missing, misdirected, doubled.
    pub(super) pushes_judged: [u64; 4],
    /// Judged reads, and those that showed too much or too little.
    pub(super) reads_judged: [u64; 2],
    /// Clips and thumbnails: stored, fetched, and those that were answered wrongly.
    pub(super) media: [u64; 3],
    /// The resident who is looked at.
    pub(super) resident: String,
    /// What reached her, newest last.
    pub(super) reached: Vec<String>,
    /// The last line: how to end it.
    pub(super) hint: String,
}

/// Draws frames.
#[derive(Debug)]
pub(super) struct Screen {
    in_place: bool,
    history: VecDeque<(Duration, [f64; 4])>,
    frames: u64,
    /// Not on a terminal: one frame in so many is printed.
    every: u64,
}

impl Screen {
    /// On standard output.
    pub(super) fn new(every: u64) -> Self {
        Self { in_place: std::io::stdout().is_terminal(), history: VecDeque::new(), frames: 0, every: every.max(1) }
    }

    /// Draws one frame.
    pub(super) fn draw(&mut self, frame: &Frame) {
        let rates = self.rates(frame);
        self.frames += 1;
        if !self.in_place && !self.frames.is_multiple_of(self.every) {
            return;
        }
        let text = render(frame, rates);
        let mut out = std::io::stdout().lock();
        let _ = if self.in_place {
            // Home, each line cleared to its end, the rest below cleared: nothing flickers.
            write!(out, "\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n"))
        } else {
            writeln!(out, "{text}")
        };
        let _ = out.flush();
    }

    /// Clears the terminal before the first frame.
    pub(super) fn clear(&self) {
        if self.in_place {
            let mut out = std::io::stdout().lock();
            let _ = write!(out, "\x1b[2J\x1b[H");
        }
    }

    /// Per second, over the last ten seconds.
    fn rates(&mut self, frame: &Frame) -> [f64; 4] {
        self.history.push_back((frame.up, frame.totals));
        while self.history.len() > 2 && frame.up.saturating_sub(self.history[0].0) > Duration::from_secs(10) {
            self.history.pop_front();
        }
        let (since, then) = self.history[0];
        let seconds = frame.up.saturating_sub(since).as_secs_f64();
        let rate = |n: usize| if seconds > 0.0 { (frame.totals[n] - then[n]).max(0.0) / seconds } else { 0.0 };
        [rate(0), rate(1), rate(2), rate(3)]
    }
}

fn render(frame: &Frame, rates: [f64; 4]) -> String {
    let mut text = String::new();
    let s = frame.up.as_secs();
    let _ = writeln!(text, "PORCHLIGHT CITY   {}   up {}:{:02}", frame.about, s / 60, s % 60);
    let _ = writeln!(text, "{}\n", frame.ground);
    let _ = writeln!(text, "             {:>12}{:>12}{:>12}{:>12}", "events", "items", "alerts", "pushes");
    let _ = writeln!(text, "  a second   {:>12.1}{:>12.1}{:>12.1}{:>12.1}", rates[0], rates[1], rates[2], rates[3]);
    let [a, b, c, d] = frame.totals;
    let _ = writeln!(text, "  in all     {a:>12.0}{b:>12.0}{c:>12.0}{d:>12.0}");
    let [index, plan, send] = frame.lag;
    let _ = writeln!(text, "  behind     {:>12}{index:>12.0}{plan:>12.0}{send:>12.0}\n", "");
    let latency = frame.latency_ms.map_or("none yet".to_owned(), |(p50, p99)| format!("p50 {p50} ms   p99 {p99} ms"));
    let _ = writeln!(text, "  accepted to handed over   {latency}        tried again {}", frame.refused);
    if let Some(own) = frame.own {
        let _ = writeln!(text, "  this process              {own}, its people and its oracle among it");
    }
    let outcomes: Vec<String> = frame.outcomes.iter().map(|(name, n)| format!("{name} {n:.0}")).collect();
    let _ = writeln!(text, "  became                    {}", outcomes.join("   "));
    let [checked, missing, misdirected, doubled] = frame.pushes_judged;
    let _ = writeln!(
        text,
        "  oracle, pushes            checked {checked}   missing {missing}   misdirected {misdirected}   doubled {doubled}"
    );
    let [checked, wrong] = frame.reads_judged;
    let _ = writeln!(text, "  oracle, feeds             checked {checked}   wrong {wrong}");
    let [stored, fetched, wrong] = frame.media;
    let _ = writeln!(text, "  oracle, media             stored {stored}   fetched {fetched}   wrong {wrong}\n");
    let _ = writeln!(text, "  {}", frame.resident);
    for line in &frame.reached {
        let _ = writeln!(text, "    {line}");
    }
    let _ = write!(text, "\n  {}", frame.hint);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_shows_rates_over_the_last_seconds_and_what_went_astray() {
        let mut screen = Screen { in_place: false, history: VecDeque::new(), frames: 0, every: 1 };
        let at = |s, n| Frame { up: Duration::from_secs(s), totals: [n, 0.0, 0.0, 0.0], ..Frame::default() };
        screen.rates(&at(0, 0.0));
        assert_eq!(screen.rates(&at(4, 20.0))[0], 5.0);
        let text = render(&Frame { pushes_judged: [9, 1, 2, 3], media: [4, 5, 6], ..at(4, 20.0) }, [5.0; 4]);
        assert!(text.contains("checked 9   missing 1   misdirected 2   doubled 3"), "{text}");
        assert!(text.contains("stored 4   fetched 5   wrong 6"), "{text}");
        assert!(!text.contains("this process"), "{text}");
        let own = Some(Cost { resident: 123_456_789, cores: 0.25 });
        let text = render(&Frame { own, ..at(4, 20.0) }, [5.0; 4]);
        assert!(text.contains("this process              123 MB, 25 % of a core"), "{text}");
    }
}
