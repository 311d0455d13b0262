//! What the benchmarks share: how they time, show, and measure in a process of
//! their own, so that a peak of memory is one size's own.

use std::{error::Error, fs, process::Command, time::Duration};

/// Calls something, and says how long that took.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures the time that passes")]
pub(crate) fn timed<T, E>(call: impl FnOnce() -> Result<T, E>) -> Result<(Duration, T), E> {
    let begun = std::time::Instant::now();
    let answer = call()?;
    Ok((begun.elapsed(), answer))
}

/// Runs this program again with other arguments, and gives what it printed.
#[allow(dead_code, reason = "not every benchmark asks for it")]
pub(crate) fn apart(arguments: &[&str]) -> Result<String, Box<dyn Error>> {
    let output = Command::new(std::env::current_exe()?).args(arguments).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The peak of this process's memory, in kB.
#[allow(dead_code, reason = "not every benchmark asks for it")]
pub(crate) fn peak_memory() -> Result<u64, Box<dyn Error>> {
    field("/proc/self/status", "VmHWM:")
}

/// The time that the threads of this process have computed, those that ended as
/// well: what a machine that others use too measures by.
#[allow(dead_code, reason = "not every benchmark asks for it")]
pub(crate) fn computed() -> Result<Duration, Box<dyn Error>> {
    ticks(&fs::read_to_string("/proc/self/stat")?, [11, 12])
}

/// The sum of two fields of a `stat` file that count ticks, of a hundredth of a
/// second each; 0 is the field behind the name.
#[allow(dead_code, reason = "not every benchmark asks for it")]
pub(crate) fn ticks(stat: &str, fields: [usize; 2]) -> Result<Duration, Box<dyn Error>> {
    let all: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let mut ticks = 0;
    for field in fields {
        ticks += all.get(field).ok_or("a `stat` file has fewer fields")?.parse::<u64>()?;
    }
    Ok(Duration::from_millis(ticks * 10))
}

/// How many others want to compute at this moment, as the system counts it.
#[allow(dead_code, reason = "not every benchmark asks for it")]
pub(crate) fn load() -> Result<String, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').next().unwrap_or_default().to_owned())
}

/// What this process has written so far, to whatever file.
#[allow(dead_code, reason = "not every benchmark asks for it")]
pub(crate) fn written_bytes() -> Result<u64, Box<dyn Error>> {
    field("/proc/self/io", "wchar:")
}

fn field(file: &str, name: &str) -> Result<u64, Box<dyn Error>> {
    let text = fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.ok_or_else(|| format!("{file} has no {name}"))?.parse()?)
}

/// The arguments of a benchmark, without the one that cargo adds.
pub(crate) fn arguments() -> Vec<String> {
    std::env::args().skip(1).filter(|argument| argument != "--bench").collect()
}
