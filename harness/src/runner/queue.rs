//! Which worker runs which case next.
//!
//! A machine costs as much as some dozens of cases, so a worker stays with one kind of machine while there is
//! work for it, and joins another worker's kind only if enough is left there.

use std::collections::HashMap;
use std::time::Duration;

use crate::limits;
use crate::qemu::command::MachineConfig;

/// Starting and calibrating a machine.
const MACHINE: Duration = Duration::from_millis(80);

/// Cases waiting for one kind of machine.
#[derive(Debug, Default)]
struct Group {
    /// Indices of jobs, the next one last.
    jobs: Vec<usize>,
    /// What they will take, in all.
    left: Duration,
    /// Workers that have such a machine.
    workers: usize,
}

/// The cases that no worker has taken yet.
#[derive(Debug)]
pub(super) struct Queue {
    groups: HashMap<MachineConfig, Group>,
    /// In the order in which they were first asked for, so that runs are alike.
    order: Vec<MachineConfig>,
    costs: Vec<Duration>,
    /// How often a job has come back.
    returned: HashMap<usize, u32>,
}

impl Queue {
    /// A queue of jobs, each with its machine and what it will take.
    pub(super) fn new(jobs: impl IntoIterator<Item = (usize, MachineConfig, Duration)>) -> Self {
        let mut queue =
            Self { groups: HashMap::new(), order: Vec::new(), costs: Vec::new(), returned: HashMap::new() };
        for (index, config, cost) in jobs {
            let group = queue.groups.entry(config).or_insert_with(|| {
                queue.order.push(config);
                Group::default()
            });
            group.jobs.push(index);
            group.left += cost;
            if queue.costs.len() <= index {
                queue.costs.resize(index + 1, Duration::ZERO);
            }
            queue.costs[index] = cost;
        }
        for group in queue.groups.values_mut() {
            group.jobs.reverse();
        }
        queue
    }

    /// The next job for a worker that has a machine of kind `current`. It may need another one.
    pub(super) fn next(&mut self, current: Option<MachineConfig>) -> Option<(usize, MachineConfig)> {
        if let Some(config) = current {
            if let Some(index) = self.pop(config) {
                return Some((index, config));
            }
            self.leave(config);
        }
        let config = self.best()?;
        self.groups.get_mut(&config)?.workers += 1;
        self.pop(config).map(|index| (index, config))
    }

    /// Takes a job back that told nothing, to be the next one, unless it has come back [`limits::STALLS`] times.
    pub(super) fn again(&mut self, index: usize, config: MachineConfig) -> bool {
        let returned = self.returned.entry(index).or_insert(0);
        let Some(group) = self.groups.get_mut(&config).filter(|_| *returned < limits::STALLS) else {
            return false;
        };
        *returned += 1;
        group.jobs.push(index);
        group.left += self.costs[index];
        true
    }

    /// A worker gives up its machine.
    pub(super) fn leave(&mut self, config: MachineConfig) {
        if let Some(group) = self.groups.get_mut(&config) {
            group.workers = group.workers.saturating_sub(1);
        }
    }

    /// All jobs of a kind of machine that cannot be had.
    pub(super) fn give_up(&mut self, config: MachineConfig) -> Vec<usize> {
        self.groups.get_mut(&config).map_or_else(Vec::new, |group| {
            group.left = Duration::ZERO;
            group.jobs.drain(..).rev().collect()
        })
    }

    /// All jobs that are left.
    pub(super) fn drain(&mut self) -> Vec<usize> {
        let order = self.order.clone();
        let mut left: Vec<usize> = order.into_iter().flat_map(|config| self.give_up(config)).collect();
        left.sort_unstable();
        left
    }

    fn pop(&mut self, config: MachineConfig) -> Option<usize> {
        let group = self.groups.get_mut(&config)?;
        let index = group.jobs.pop()?;
        group.left = group.left.saturating_sub(self.costs[index]);
        Some(index)
    }

    /// The kind with the most work for one more worker.
    fn best(&self) -> Option<MachineConfig> {
        let share = |group: &Group| group.left / u32::try_from(group.workers + 1).unwrap_or(u32::MAX);
        self.order
            .iter()
            .filter_map(|config| self.groups.get(config).map(|group| (config, group)))
            .filter(|(_, group)| !group.jobs.is_empty())
            // Helping is worth a machine only if it saves more than that costs.
            .filter(|(_, group)| group.workers == 0 || share(group) > MACHINE)
            .max_by_key(|(config, group)| {
                let position = self.order.iter().position(|other| other == *config);
                (share(group), std::cmp::Reverse(position))
            })
            .map(|(config, _)| *config)
    }
}

#[cfg(test)]
mod tests {
    use model::scenario::step::Cpu;

    use super::*;

    const A: MachineConfig =
        MachineConfig { el2: true, cpu: Cpu::Max, vl_max: 2048, sme: true, icount: false };
    const B: MachineConfig = MachineConfig { icount: true, ..A };
    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn every_job_is_given_once_and_in_order() {
        let mut queue = Queue::new([(0, A, MS), (1, B, MS), (2, A, MS), (3, B, 3 * MS)]);
        assert_eq!(queue.next(None), Some((1, B)));
        assert_eq!(queue.next(Some(B)), Some((3, B)));
        assert_eq!(queue.next(Some(B)), Some((0, A)));
        assert_eq!(queue.next(Some(A)), Some((2, A)));
        assert_eq!(queue.next(Some(A)), None);
        assert_eq!(queue.next(None), None);
    }

    #[test]
    fn a_second_worker_joins_only_where_it_pays() {
        let mut queue = Queue::new((0..100).map(|index| (index, A, MS)));
        assert_eq!(queue.next(None), Some((0, A)));
        assert_eq!(queue.next(None), None, "a machine costs more than half of what is left");

        let mut queue = Queue::new((0..1000).map(|index| (index, A, MS)));
        assert_eq!(queue.next(None), Some((0, A)));
        assert_eq!(queue.next(None), Some((1, A)));
    }

    #[test]
    fn work_without_a_worker_comes_before_help() {
        let mut queue = Queue::new((0..1000).map(|index| (index, if index == 999 { B } else { A }, MS)));
        assert_eq!(queue.next(None), Some((0, A)));
        assert_eq!(queue.next(None), Some((1, A)), "there is most to do");
        queue.leave(A);
        queue.leave(A);
        assert_eq!(queue.give_up(A).len(), 997);
        assert_eq!(queue.next(None), Some((999, B)));
        assert!(queue.drain().is_empty());
    }
}
