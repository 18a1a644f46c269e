//! What to compact next. Pure.
//!
//! It must never choose blocks that are not neighbours in log order: of two values of one time the later in the log wins,
//! and the order of the blocks is all that tells.

use crate::manifest::BlockRecord;

/// Neighbours of about one size that are worth a merge.
const RUN_MIN: usize = 4;
/// A merge takes no more at once; a block that large is left alone.
const MERGE_BYTES_MAX: u64 = 512 << 20;
/// Blocks that a merge takes at once.
const MERGE_BLOCKS_MAX: usize = 64;
/// Blocks up to this size are of the smallest kind; each next kind is four times larger.
const KIND_BYTES: u64 = 256 << 10;

/// The blocks, as places in `blocks`, to merge next: in log order, of one partition, with no other block between that
/// overlaps them. `has_deletes` tells of those of which deletes wait; one such block alone is worth rewriting.
pub(super) fn plan(blocks: &[BlockRecord], has_deletes: impl Fn(&BlockRecord) -> bool) -> Option<Vec<usize>> {
    let mut order: Vec<usize> = (0..blocks.len()).collect();
    order.sort_by_key(|at| (partition(&blocks[*at]), blocks[*at].first));
    let groups = || order.chunk_by(|a, b| partition(&blocks[*a]) == partition(&blocks[*b]));
    let run = groups().filter_map(|group| best_run(blocks, group)).min_by_key(|(kind, _)| *kind);
    if let Some((_, run)) = run {
        return Some(run);
    }
    order.iter().copied().find(|at| has_deletes(&blocks[*at])).map(|at| vec![at])
}

/// Which blocks may be merged with each other: those of one database and one partition.
fn partition(record: &BlockRecord) -> (u32, i64, i64) {
    let start = record.meta.time_min.div_euclid(record.partition);
    (record.meta.database.0, record.partition, start)
}

/// How large a block is, in steps of four.
fn kind(bytes: u64) -> u32 {
    (bytes.max(KIND_BYTES) / KIND_BYTES).ilog(4)
}

/// The run of neighbours of the smallest kind; of one kind, the first one.
fn best_run(blocks: &[BlockRecord], group: &[usize]) -> Option<(u32, Vec<usize>)> {
    let kinds = group.iter().map(|at| kind(blocks[*at].meta.bytes));
    let mut kinds: Vec<u32> = kinds.collect();
    kinds.sort_unstable();
    kinds.dedup();
    let of_kind = |largest: u32| {
        let small = |at: &usize| kind(blocks[*at].meta.bytes) <= largest;
        let mut stretches = group.split(move |at| !small(at));
        stretches.find_map(|run| free_run(blocks, run))
    };
    kinds.into_iter().find_map(|largest| Some((largest, of_kind(largest)?.to_vec())))
}

/// The first part of a stretch of neighbours that a merge can take and that no other block separates. A block of another
/// partition length in the middle of it leaves what is before and behind it.
fn free_run<'a>(blocks: &[BlockRecord], stretch: &'a [usize]) -> Option<&'a [usize]> {
    (0..stretch.len()).find_map(|from| {
        let run = bounded(blocks, &stretch[from..]);
        (RUN_MIN..=run.len()).rev().map(|len| &run[..len]).find(|run| is_free(blocks, run))
    })
}

/// The first part of a run that a merge can take.
fn bounded<'a>(blocks: &[BlockRecord], run: &'a [usize]) -> &'a [usize] {
    let mut bytes = 0;
    let fits = run.iter().take(MERGE_BLOCKS_MAX).take_while(|at| {
        bytes += blocks[**at].meta.bytes;
        bytes <= MERGE_BYTES_MAX
    });
    &run[..fits.count()]
}

/// Whether no other block comes between those of the run in the log and overlaps one of them in time.
fn is_free(blocks: &[BlockRecord], run: &[usize]) -> bool {
    let (Some(first), Some(last)) = (run.first(), run.last()) else { return false };
    let (from, to) = (blocks[*first].first, blocks[*last].last);
    let others = blocks.iter().enumerate().filter(|(at, _)| !run.contains(at)).map(|(_, block)| block);
    let mut between = others.filter(|block| block.last >= from && block.first <= to);
    !between.any(|block| run.iter().any(|at| blocks[*at].overlaps(block)))
}

#[cfg(test)]
mod tests {
    use meridian_types::DatabaseId;
    use proptest::prelude::*;

    use super::*;
    use crate::block::BlockMeta;

    fn block(number: u64, interval: (u64, u64), time: (i64, i64), bytes: u64, partition: i64) -> BlockRecord {
        let (time_min, time_max) = time;
        let meta = BlockMeta {
            number,
            database: DatabaseId(1),
            bytes,
            hash: 0,
            series: 1,
            rows: 1,
            points: 1,
            time_min,
            time_max,
        };
        BlockRecord { meta, first: interval.0, last: interval.1, clean: 0, partition }
    }

    #[test]
    fn four_small_neighbours_of_one_partition_are_merged() {
        let mut blocks: Vec<_> = (0..3).map(|n| block(n, (10 * n + 1, 10 * n + 10), (0, 9), 1_000, 100)).collect();
        assert_eq!(plan(&blocks, |_| false), None, "three are not worth it");
        blocks.push(block(3, (31, 40), (200, 209), 1_000, 100));
        assert_eq!(plan(&blocks, |_| false), None, "the fourth is of another partition");
        blocks.push(block(4, (31, 40), (5, 99), 1_000, 100));
        assert_eq!(plan(&blocks, |_| false), Some(vec![0, 1, 2, 4]));
    }

    #[test]
    fn a_large_block_between_small_ones_separates_them() {
        let sizes = [1, 1, 1 << 30, 1, 1, 1, 1];
        let blocks: Vec<_> =
            sizes.iter().zip(0..).map(|(bytes, n)| block(n, (n + 1, n + 1), (0, 9), *bytes, 100)).collect();
        assert_eq!(plan(&blocks, |_| false), Some(vec![3, 4, 5, 6]));
    }

    #[test]
    fn a_block_of_another_partition_length_leaves_what_is_behind_it() {
        let mut blocks = vec![block(0, (1, 1), (0, 9), 1, 100), block(1, (2, 2), (0, 9), 1, 100)];
        blocks.push(block(2, (3, 3), (5, 150), 1, 200));
        blocks.extend((4..9).map(|n| block(n, (n, n), (0, 9), 1, 100)));
        assert_eq!(plan(&blocks, |_| false), Some(vec![3, 4, 5, 6, 7]));
    }

    #[test]
    fn a_block_with_deletes_is_rewritten_alone() {
        let blocks = [block(0, (1, 1), (0, 9), 1, 100), block(1, (2, 2), (0, 9), 1, 100)];
        assert_eq!(plan(&blocks, |record| record.meta.number == 1), Some(vec![1]));
    }

    proptest! {
        /// Whatever there is, a merge changes the order of no two blocks that overlap in time.
        #[test]
        fn merges_keep_the_log_order(
            given in proptest::collection::vec((0_i64..40, 1_i64..30, 0_usize..3, 0_u64..4), 1..30)
        ) {
            let partition = [10, 20, 40];
            let blocks: Vec<_> = given.iter().zip(1..).map(|((start, len, size, bytes), n)| {
                let partition = partition[*size];
                let end = (start + len - 1).min(start - start % partition + partition - 1);
                block(n, (n, n), (*start, end), bytes << 18, partition)
            }).collect();
            let Some(run) = plan(&blocks, |_| false) else { return Ok(()) };
            prop_assert!(run.is_sorted_by(|a, b| blocks[*a].last < blocks[*b].first));
            let (from, to) = (blocks[run[0]].first, blocks[run[run.len() - 1]].last);
            let min = run.iter().map(|at| blocks[*at].meta.time_min).min().unwrap_or(0);
            let max = run.iter().map(|at| blocks[*at].meta.time_max).max().unwrap_or(0);
            let merged = block(0, (from, to), (min, max), 1, 1);
            for (at, other) in blocks.iter().enumerate().filter(|(at, _)| !run.contains(at)) {
                let ordered = other.last < from || other.first > to;
                prop_assert!(ordered || !run.iter().any(|r| blocks[*r].overlaps(other)), "{at} {merged:?}");
            }
        }
    }
}
