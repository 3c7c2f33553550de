//! The pool with 1, 2 and 5 threads, spinning and sleeping: every task once, panics, nesting, several callers, drop.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Barrier,
        atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use super::*;

/// How often stress loops repeat; Miri is slow.
const ROUNDS: usize = if cfg!(miri) { 20 } else { 3000 };

/// Pools of all sizes of interest; those that never spin go through sleep and wake for each job.
fn pools() -> Vec<ThreadPool> {
    let mut pools = Vec::new();
    for threads in [1, 2, 5] {
        pools.push(ThreadPool::new(threads).unwrap());
        pools.push(ThreadPool::with_spin(threads, Duration::ZERO).unwrap());
        pools.push(ThreadPool::with_spin(threads, Duration::from_micros(20)).unwrap());
    }
    pools
}

/// Runs a job and checks that each task ran once.
fn check(pool: &ThreadPool, tasks: usize) {
    let counts: Vec<AtomicU32> = (0..tasks).map(|_| AtomicU32::new(0)).collect();
    pool.run(tasks, &|task| {
        counts[task].fetch_add(1, Relaxed);
    });
    assert!(counts.iter().all(|count| count.load(Relaxed) == 1), "{tasks} tasks, {} threads", pool.threads());
}

fn message(result: thread::Result<()>) -> String {
    *result.unwrap_err().downcast::<String>().unwrap()
}

#[test]
fn every_task_runs_once() {
    for pool in pools() {
        for tasks in [0, 1, 2, 3, 4, 5, 6, 7, 64, 1000] {
            check(&pool, tasks);
        }
    }
}

#[test]
fn blocks_cover_all_tasks() {
    for threads in 1..9 {
        for tasks in [0, 1, 7, 8, 9, 1000, usize::MAX] {
            assert_eq!((block_start(tasks, threads, 0), block_start(tasks, threads, threads)), (0, tasks));
            for seat in 0..threads {
                let size = block_start(tasks, threads, seat + 1) - block_start(tasks, threads, seat);
                assert!(size.abs_diff(tasks / threads) <= 1);
            }
        }
    }
}

#[test]
fn results_of_a_job_are_visible_to_the_next() {
    for pool in pools() {
        let values: Vec<AtomicUsize> = (0..7).map(AtomicUsize::new).collect();
        for _ in 0..ROUNDS {
            // Relaxed on purpose: the order comes from the end of one job and the start of the next.
            pool.run(7, &|task| values[task].store(values[task].load(Relaxed) + 1, Relaxed));
        }
        assert!(values.iter().enumerate().all(|(task, value)| value.load(Relaxed) == task + ROUNDS));
    }
}

#[test]
fn tasks_may_write_to_borrowed_memory() {
    for pool in pools() {
        for round in 0..ROUNDS / 10 {
            let slots: Vec<Mutex<usize>> = (0..9).map(|_| Mutex::new(0)).collect();
            pool.run(9, &|task| *slots[task].lock().unwrap() = task + round);
            let values: Vec<usize> = slots.into_iter().map(|slot| slot.into_inner().unwrap()).collect();
            assert_eq!(values, (round..round + 9).collect::<Vec<_>>());
        }
    }
}

#[test]
fn all_threads_take_part_at_the_same_time() {
    for pool in pools() {
        let barrier = Barrier::new(pool.threads());
        for _ in 0..50 {
            // Ends only if each task has a thread of its own.
            pool.run(pool.threads(), &|_| {
                barrier.wait();
            });
        }
    }
}

#[test]
fn the_panic_of_the_lowest_task_continues_after_all_have_finished() {
    for pool in pools() {
        for round in 0..20 {
            let done = AtomicUsize::new(0);
            let result = catch_unwind(AssertUnwindSafe(|| {
                pool.run(50, &|task| {
                    done.fetch_add(1, Relaxed);
                    if task % 10 == 3 {
                        std::panic::resume_unwind(Box::new(format!("task {task} of round {round}")));
                    }
                });
            }));
            assert_eq!(message(result), format!("task 3 of round {round}"));
            assert_eq!(done.load(Relaxed), 50);
            check(&pool, 50);
        }
    }
}

#[test]
fn nested_jobs_run_inline() {
    for pool in pools() {
        let count = AtomicUsize::new(0);
        pool.run(6, &|_| {
            let outer = thread::current().id();
            pool.run(6, &|_| {
                // A job of one thread is no job: with one thread, nothing is nested.
                assert_eq!(thread::current().id(), outer);
                count.fetch_add(1, Relaxed);
            });
        });
        assert_eq!(count.load(Relaxed), 36);
        check(&pool, 6);
    }
}

#[test]
fn several_callers_share_a_pool() {
    for pool in pools() {
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| (0..ROUNDS / 10).for_each(|round| check(&pool, round % 13)));
            }
        });
        check(&pool, 100);
    }
}

#[test]
fn a_caller_does_not_wait_for_the_job_of_another() {
    let pool = ThreadPool::new(2).unwrap();
    let (started, checked) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|scope| {
        scope.spawn(|| {
            pool.run(2, &|task| {
                if task == 0 {
                    started.wait();
                    checked.wait();
                }
            });
        });
        started.wait();
        // The first job cannot end before this one has.
        check(&pool, 10);
        checked.wait();
    });
}

#[test]
fn pools_can_be_dropped_in_any_state() {
    for _ in 0..ROUNDS / 30 {
        for pool in pools() {
            // Fresh, spinning or asleep.
            drop(pool);
        }
        let pool = ThreadPool::new(3).unwrap();
        check(&pool, 3);
    }
}

#[test]
fn thread_counts_are_limited() {
    assert_eq!(ThreadPool::new(0).unwrap().threads(), 1);
    assert!(matches!(ThreadPool::new(MAX_THREADS + 1), Err(PoolError::TooManyThreads { requested: 1025 })));
}

#[test]
fn the_state_word_holds_its_parts() {
    let state = State(u64::MAX << 32).next(MAX_THREADS);
    assert_eq!((state.job(), state.threads(), state.active()), (0, MAX_THREADS, 0));
    assert!(state.has(OPEN) && !state.has(WAITING) && !state.has(SHUTDOWN));
    assert!(MAX_THREADS as u64 <= ACTIVE);
}

#[test]
fn kernels_can_use_a_pool() {
    let pool = ThreadPool::new(2).unwrap();
    let parallel: &dyn Parallel = &pool;
    let sum = AtomicUsize::new(0);
    parallel.run(10, &|task| {
        sum.fetch_add(task, Relaxed);
    });
    assert_eq!((parallel.threads(), sum.load(Relaxed)), (2, 45));
}
