//! Prints what a fork-join costs, on this pool and with scoped threads: `cargo run --release --example forkjoin -- 2`.
#![allow(clippy::print_stdout, reason = "this is its purpose")]

use std::{
    hint::{self, black_box},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use planc_runtime::pool::ThreadPool;

/// Nanoseconds per call, in ascending order.
fn sample(count: usize, mut call: impl FnMut()) -> Vec<u128> {
    let mut samples: Vec<u128> = (0..count)
        .map(|_| {
            let start = Instant::now();
            call();
            start.elapsed().as_nanos()
        })
        .collect();
    samples.sort_unstable();
    samples
}

fn report(name: &str, samples: &[u128]) {
    let at = |percent: usize| samples[samples.len() * percent / 100] as f64 / 1000.0;
    println!("{name:<36} p10 {:8.2} us   p50 {:8.2} us   p90 {:8.2} us", at(10), at(50), at(90));
}

/// Some microseconds of dependent multiplications: they leave the core's units to a second thread on the same core.
fn work(seed: usize) {
    let mut value = black_box(seed as u64);
    for i in 0..5_000 {
        value = value.wrapping_mul(6364136223846793005) ^ i;
    }
    black_box(value);
}

fn empty(task: usize) {
    black_box(task);
}

fn main() {
    let threads = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).unwrap_or(2);
    let pool = ThreadPool::new(threads).expect("a pool of that size");
    report("clock", &sample(100_000, || {}));
    // The caller often does all of these before a worker has noticed.
    report("pool, empty tasks", &sample(100_000, || pool.run(threads, &empty)));
    report("pool, 8 empty tasks per thread", &sample(100_000, || pool.run(8 * threads, &empty)));
    // The cost of fork and join is the difference of these two.
    report("work, once", &sample(20_000, || work(0)));
    report("pool, work on each thread", &sample(20_000, || pool.run(threads, &work)));
    // All threads must meet, so that nobody can do the work of another.
    let arrived = AtomicUsize::new(0);
    report(
        "pool, all threads meet",
        &sample(20_000, || {
            arrived.store(0, Relaxed);
            pool.run(threads, &|_| {
                arrived.fetch_add(1, Relaxed);
                while arrived.load(Relaxed) < threads {
                    hint::spin_loop();
                }
            });
        }),
    );
    let sleepy = ThreadPool::with_spin(threads, Duration::ZERO).expect("a pool of that size");
    report("pool that never spins, work", &sample(5_000, || sleepy.run(threads, &work)));
    report(
        "scoped threads, work",
        &sample(1_000, || {
            thread::scope(|scope| {
                for task in 1..threads {
                    scope.spawn(move || work(task));
                }
                work(0);
            });
        }),
    );
}
