//! How the table is shown.
#![expect(clippy::print_stdout, reason = "a benchmark tells what it measured")]

use std::time::Duration;

/// One line: what, what was reached, the aim, and what stands beside it.
pub(crate) fn row(what: &str, reached: &str, aim: &str, beside: &str) {
    println!("{what:<36} {reached:>20}  {aim:<20} {beside}");
}

pub(crate) fn heading(text: &str) {
    println!("\n{text}\n");
    row("", "reached", "aim", "beside it");
}

pub(crate) fn shown(time: Duration) -> String {
    match time.as_millis() {
        0..10 => format!("{:.2} ms", time.as_secs_f64() * 1e3),
        10..10_000 => format!("{:.0} ms", time.as_secs_f64() * 1e3),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

pub(crate) fn bytes(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} B"),
        10_000..10_000_000 => format!("{} kB", count / 1_000),
        _ => format!("{} MB", count / 1_000_000),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate is shown with a few digits")]
pub(crate) fn per_second(count: usize, time: Duration) -> String {
    format!("{:.0}", count as f64 / time.as_secs_f64().max(1e-9))
}

/// How many times as fast the second is.
pub(crate) fn times(one: Duration, other: Duration) -> String {
    format!("× {:.1}", one.as_secs_f64() / other.as_secs_f64().max(1e-9))
}

/// By how much more time each doubling costs.
#[expect(clippy::cast_precision_loss, reason = "it is shown with two digits")]
pub(crate) fn doubling(before: Option<(usize, Duration)>, size: usize, time: Duration) -> String {
    match before {
        Some((less, before)) if size > less => {
            let doublings = (size as f64 / less as f64).log2();
            let grown = time.as_secs_f64() / before.as_secs_f64().max(1e-9);
            format!("× {:.2} a doubling", grown.powf(doublings.recip()))
        }
        _ => String::new(),
    }
}
