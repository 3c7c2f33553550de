//! What is asked of the operating system: peak memory, processor time, memory that may be used.

use std::time::Duration;

/// The largest resident size of this process so far, in bytes; 0 where the system does not say.
pub fn peak_rss_bytes() -> u64 {
    kib_line("/proc/self/status", "VmHWM:").unwrap_or(0)
}

/// Processor time that all threads of this process used.
pub fn cpu_time() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(t.tv_sec).unwrap_or(0), u32::try_from(t.tv_nsec).unwrap_or(0))
}

/// Bytes that one value of a run may have where the user does not say: most of what is free, and less than half of the
/// address space that is left to this process.
pub fn memory_limit() -> usize {
    let free = kib_line("/proc/meminfo", "MemAvailable:").unwrap_or(8 << 30);
    let address = rustix::process::getrlimit(rustix::process::Resource::As).current.unwrap_or(u64::MAX);
    usize::try_from((free / 8 * 7).min(address / 8 * 3)).unwrap_or(usize::MAX)
}

/// The number of a line such as `VmHWM:   1234 kB`, in bytes.
fn kib_line(file: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(key))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Processors that threads can run on at once.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Milliseconds of a duration, as all reports give them.
pub fn ms(d: Duration) -> f64 {
    d.as_nanos() as f64 / 1e6
}
