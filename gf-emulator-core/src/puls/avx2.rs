//! The ways of processors with AVX2, chosen at run time: counting, extents, and turning ticks on their side.
//!
//! This module has one of the two uses of `unsafe` in the crate: calling a function that is compiled for AVX2 is unsafe,
//! because a processor without it would run into an illegal instruction. The call stands right behind the question
//! whether the processor has it, and nothing else here is unsafe.
//!
//! What it brings (`cargo bench -p gf-emulator-tests --bench steps`, on a synthetic print): counting is 2.5 times as fast
//! as in the way that every processor has, extents 7 times, paths 1.3 times. The tests of `counts`, `extents` and `paths`
//! hold both ways against each other.

use super::meter::Samples;
use super::{Counts, Extents, Segment, Tracer};

/// Something that these processors have their own way for.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "no other processor has these ways"))]
pub(super) enum Task<'a> {
    /// Adds how often each bit is set where it means something, lowest bit first.
    Count(&'a [u8], &'a mut [u64; 8]),
    /// Goes through some more ticks, and counts them.
    Extend(&'a [u8], &'a mut Extents, &'a mut Counts),
    /// Goes through some more ticks, with the samples of whoever takes them, and hands over the segments that end.
    Trace(&'a [u8], &'a mut Tracer, Option<&'a mut Samples>, &'a mut (dyn FnMut(&Segment) + 'a)),
    /// Adds the sum of all bytes.
    Sum(&'a [u8], &'a mut u64),
}

/// Does it, if this processor can. Says whether it did.
pub(super) fn run(task: Task<'_>) -> bool {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2")
        && std::arch::is_x86_feature_detected!("popcnt")
        && std::arch::is_x86_feature_detected!("bmi1")
    {
        #[allow(unsafe_code)]
        // SAFETY: the processor has what the function is compiled for, which is all that it asks for.
        unsafe {
            kernels::run(task);
        }
        return true;
    }
    let _ = task;
    false
}

/// The sum of all bytes: the least that can be done with them all, for benches to compare with.
#[must_use]
pub fn plain_sum(bytes: &[u8]) -> u64 {
    let mut sum = 0;
    if run(Task::Sum(bytes, &mut sum)) { sum } else { bytes.iter().map(|&byte| u64::from(byte)).sum() }
}

#[cfg(target_arch = "x86_64")]
mod kernels {
    #[allow(clippy::wildcard_imports, reason = "some forty instructions, whose names nothing else has")]
    use std::arch::x86_64::*;

    use super::Task;
    use crate::puls::extents::FireBox;
    use crate::puls::planes::{BLOCK_TICKS, Planes};
    use crate::puls::{Counts, Extents, Position, Span};

    /// How many bytes a register has.
    const BYTES: usize = 32;

    #[target_feature(enable = "avx2,popcnt,bmi1")]
    pub(super) fn run(task: Task<'_>) {
        match task {
            Task::Count(ticks, bits) => count(ticks, bits),
            Task::Extend(ticks, extents, counts) => extend(ticks, extents, counts),
            Task::Trace(ticks, tracer, samples, each) => {
                tracer.trace_by(|block| planes_of(block), ticks, samples, each);
            }
            Task::Sum(bytes, sum) => *sum += add_up(bytes),
        }
    }

    /// One load: the optimiser sees that the four words lie side by side.
    #[target_feature(enable = "avx2")]
    fn load(bytes: &[u8; BYTES]) -> __m256i {
        let (words, _) = bytes.as_chunks();
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| i64::from_le_bytes(words[i]));
        _mm256_setr_epi64x(a, b, c, d)
    }

    /// Two loads.
    #[target_feature(enable = "avx2")]
    fn load_two(low: &[u8; BYTES / 2], high: &[u8; BYTES / 2]) -> __m256i {
        let (low, high) = (i128::from_le_bytes(*low), i128::from_le_bytes(*high));
        #[expect(clippy::cast_possible_truncation, reason = "halves of it are what is wanted")]
        let halves = |both: i128| (both as i64, (both >> 64) as i64);
        let ((a, b), (c, d)) = (halves(low), halves(high));
        _mm256_set_m128i(_mm_set_epi64x(d, c), _mm_set_epi64x(b, a))
    }

    #[target_feature(enable = "avx2")]
    fn words(vector: __m256i) -> [i64; 4] {
        [
            _mm256_extract_epi64::<0>(vector),
            _mm256_extract_epi64::<1>(vector),
            _mm256_extract_epi64::<2>(vector),
            _mm256_extract_epi64::<3>(vector),
        ]
    }

    /// The sum of all bytes of a register.
    #[target_feature(enable = "avx2")]
    fn sum_of(vector: __m256i) -> u64 {
        words(_mm256_sad_epu8(vector, _mm256_setzero_si256())).iter().map(|&sum| sum.cast_unsigned()).sum()
    }

    #[target_feature(enable = "avx2")]
    fn add_up(bytes: &[u8]) -> u64 {
        let (vectors, rest) = bytes.as_chunks();
        let (blocks, single) = vectors.as_chunks::<8>();
        let zero = _mm256_setzero_si256();
        let mut sums = [zero; 8];
        for block in blocks {
            for i in 0..8 {
                sums[i] = _mm256_add_epi64(sums[i], _mm256_sad_epu8(load(&block[i]), zero));
            }
        }
        let blocks: i64 = sums.iter().flat_map(|&sums| words(sums)).sum();
        let single: u64 = single.iter().map(|vector| sum_of(load(vector))).sum();
        blocks.cast_unsigned() + single + rest.iter().map(|&byte| u64::from(byte)).sum::<u64>()
    }

    /// In each half the same 16 bytes: what `vpshufb` finds for a nibble. It finds 0 where a byte is above 127.
    #[target_feature(enable = "avx2")]
    fn table(of: impl Fn(u8) -> u8) -> __m256i {
        let [mut low, mut high] = [[0; 8]; 2];
        for i in 0..8_u8 {
            low[usize::from(i)] = of(i);
            high[usize::from(i)] = of(i + 8);
        }
        let [low, high] = [i64::from_le_bytes(low), i64::from_le_bytes(high)];
        _mm256_setr_epi64x(low, high, low, high)
    }

    #[target_feature(enable = "avx2")]
    fn high_nibbles(vector: __m256i) -> __m256i {
        _mm256_and_si256(_mm256_srli_epi16::<4>(vector), _mm256_set1_epi8(0x0f))
    }

    /// Blocks of 16 vectors after which a byte-wide counter could overflow.
    pub(super) const BLOCKS: usize = 255;

    /// Adding up bits one by one would be limited by arithmetic. Here the eight bits of a byte are eight counters'
    /// inputs at once, and carry-save adders make of sixteen vectors one each of ones, twos, fours and eights that stay,
    /// and one of sixteens that is added to byte-wide counters (Harley and Seal's way of counting bits, with each bit's
    /// place kept apart).
    #[target_feature(enable = "avx2")]
    fn count(ticks: &[u8], bits: &mut [u64; 8]) {
        let zero = _mm256_setzero_si256();
        let (vectors, rest) = ticks.as_chunks();
        let (blocks, single) = vectors.as_chunks::<16>();
        let mut sums = [zero; 8];
        let (mut few, mut eights) = ([zero; 3], zero);
        for blocks in blocks.chunks(BLOCKS) {
            let mut counters = [zero; 8];
            for block in blocks {
                let (first, second) = (eight(&mut few, block, 0), eight(&mut few, block, 8));
                let (eight, sixteens) = add(eights, first, second);
                eights = eight;
                unpack(&mut counters, sixteens);
            }
            for i in 0..8 {
                sums[i] = _mm256_add_epi64(sums[i], _mm256_sad_epu8(counters[i], zero));
            }
        }
        let mut counters = [zero; 8];
        let [ones, twos, fours] = few;
        for vector in [eights, fours, twos, ones] {
            counters = counters.map(|counter| _mm256_add_epi8(counter, counter));
            unpack(&mut counters, vector);
        }
        let mut last = [0; BYTES];
        last[..rest.len()].copy_from_slice(rest);
        for vector in single.iter().chain([&last]) {
            unpack(&mut counters, meaning(load(vector)));
        }
        for i in 0..8 {
            let sums = _mm256_add_epi64(_mm256_slli_epi64::<4>(sums[i]), _mm256_sad_epu8(counters[i], zero));
            bits[i] += words(sums).iter().map(|&sum| sum.cast_unsigned()).sum::<u64>();
        }
    }

    /// Takes eight vectors into the ones, twos and fours: the eights.
    #[target_feature(enable = "avx2")]
    fn eight([ones, twos, fours]: &mut [__m256i; 3], block: &[[u8; BYTES]; 16], from: usize) -> __m256i {
        let (one, two_a) = add(*ones, at(block, from), at(block, from + 1));
        let (one, two_b) = add(one, at(block, from + 2), at(block, from + 3));
        let (two, four_a) = add(*twos, two_a, two_b);
        let (one, two_a) = add(one, at(block, from + 4), at(block, from + 5));
        let (one, two_b) = add(one, at(block, from + 6), at(block, from + 7));
        let (two, four_b) = add(two, two_a, two_b);
        let (four, eights) = add(*fours, four_a, four_b);
        (*ones, *twos, *fours) = (one, two, four);
        eights
    }

    #[target_feature(enable = "avx2")]
    fn at(block: &[[u8; BYTES]; 16], i: usize) -> __m256i {
        meaning(load(&block[i]))
    }

    /// Leaves of each byte what counts: a direction only with its step, and nothing but the highest bit of a power byte.
    #[target_feature(enable = "avx2")]
    fn meaning(ticks: __m256i) -> __m256i {
        let low = _mm256_shuffle_epi8(table(|low| low & (low << 1 | 0b0101)), ticks);
        let high = |high: u8| if high < 8 { high & (high << 1 | 0b0011) } else { 8 };
        _mm256_or_si256(low, _mm256_shuffle_epi8(table(|nibble| high(nibble) << 4), high_nibbles(ticks)))
    }

    /// Adds up three bits in each place: the sum's, and the carry.
    #[target_feature(enable = "avx2")]
    fn add(a: __m256i, b: __m256i, c: __m256i) -> (__m256i, __m256i) {
        let half = _mm256_xor_si256(a, b);
        let carry = _mm256_or_si256(_mm256_and_si256(a, b), _mm256_and_si256(half, c));
        (_mm256_xor_si256(half, c), carry)
    }

    /// Adds each bit of a vector's bytes to the byte-wide counters for bits in that place.
    #[target_feature(enable = "avx2")]
    fn unpack(counters: &mut [__m256i; 8], mut bits: __m256i) {
        for counter in counters {
            *counter = _mm256_add_epi8(*counter, _mm256_and_si256(bits, _mm256_set1_epi8(1)));
            bits = _mm256_srli_epi16::<1>(bits);
        }
    }

    /// Where a lane is when it begins: in the middle of what a byte holds.
    const ORIGIN: i8 = i8::MIN;
    /// Ticks of a stream that are looked at together.
    const STEP: usize = 16;
    /// Ticks of a stream: of 120 its lane would still stay within a byte whatever it does, but the shorter a block is, the
    /// more often its counts tell enough.
    const STREAM: usize = 4 * STEP;

    /// A position is a running sum, which is no work for vectors: each needs the one before. So a block is cut into as
    /// many streams as a vector has bytes, one behind the other, and each byte lane walks its own; where a stream begins
    /// on the bed is known afterwards, when those before it have been added up.
    #[target_feature(enable = "avx2")]
    fn extend(ticks: &[u8], extents: &mut Extents, counts: &mut Counts) {
        let rest = extend_by_blocks::<STREAM>(ticks, extents, counts);
        let rest = extend_by_blocks::<STEP>(rest, extents, counts);
        // Idle ticks behind the last one reach nowhere.
        let mut last = [0; BYTES * STEP];
        last[..rest.len()].copy_from_slice(rest);
        extend_by_blocks::<STEP>(&last, extents, counts);
    }

    /// Goes through as many blocks as there are, and leaves the rest. Counting is quicker than walking, and often enough.
    #[target_feature(enable = "avx2")]
    fn extend_by_blocks<'a, const STREAM: usize>(
        ticks: &'a [u8],
        extents: &mut Extents,
        counts: &mut Counts,
    ) -> &'a [u8] {
        let (blocks, _) = ticks.as_chunks::<STREAM>().0.as_chunks::<BYTES>();
        for block in blocks {
            let mut bits = [0; 8];
            count(block.as_flattened(), &mut bits);
            let found = Counts::of_bits(bits);
            if !extents.pass(&found, (BYTES * STREAM) as u64) {
                extents.follow(&walk(block));
            }
            *counts += found;
        }
        &ticks[blocks.len() * BYTES * STREAM..]
    }

    /// Least and greatest place of each lane.
    #[derive(Clone, Copy)]
    struct Reach {
        min: __m256i,
        max: __m256i,
    }

    impl Reach {
        #[target_feature(enable = "avx2")]
        fn include(&mut self, place: __m256i) {
            self.min = _mm256_min_epu8(self.min, place);
            self.max = _mm256_max_epu8(self.max, place);
        }

        /// The least is the byte's greatest value, and the other way round, as long as nothing has fired.
        #[target_feature(enable = "avx2")]
        fn include_unless(&mut self, masked: __m256i, place: __m256i) {
            self.min = _mm256_min_epu8(self.min, _mm256_or_si256(masked, place));
            self.max = _mm256_max_epu8(self.max, _mm256_andnot_si256(masked, place));
        }

        /// Of all lanes together, each begun where it begins; the wrong way round where none reaches anywhere.
        #[target_feature(enable = "avx2")]
        fn span(self, starts: [__m256i; 2]) -> Span {
            let [mut min, mut max] = [_mm256_set1_epi16(i16::MAX), _mm256_set1_epi16(i16::MIN)];
            for ((least, greatest), start) in widen(self.min).into_iter().zip(widen(self.max)).zip(starts) {
                let none = _mm256_cmpgt_epi16(least, greatest);
                let (least, greatest) = (_mm256_add_epi16(least, start), _mm256_add_epi16(greatest, start));
                min = _mm256_min_epi16(min, _mm256_blendv_epi8(least, min, none));
                max = _mm256_max_epi16(max, _mm256_blendv_epi8(greatest, max, none));
            }
            Span { min: least(min), max: !least(_mm256_xor_si256(max, _mm256_set1_epi16(-1))) }
        }
    }

    /// The least of sixteen numbers.
    #[target_feature(enable = "avx2")]
    fn least(numbers: __m256i) -> i64 {
        let numbers = _mm_min_epi16(_mm256_castsi256_si128(numbers), _mm256_extracti128_si256::<1>(numbers));
        // The instruction knows no sign.
        let least = _mm_minpos_epu16(_mm_xor_si128(numbers, _mm_set1_epi16(i16::MIN)));
        i64::from(_mm_extract_epi16::<0>(least)) + i64::from(i16::MIN)
    }

    /// How far lanes are from where they began: the first sixteen of them, and the others.
    #[target_feature(enable = "avx2")]
    fn widen(lanes: __m256i) -> [__m256i; 2] {
        let ways = _mm256_xor_si256(lanes, _mm256_set1_epi8(ORIGIN));
        [_mm256_cvtepi8_epi16(_mm256_castsi256_si128(ways)), _mm256_cvtepi8_epi16(_mm256_extracti128_si256::<1>(ways))]
    }

    /// Where each lane begins, given where each has got to: at the sum of those before it; and the sum of all.
    #[target_feature(enable = "avx2")]
    fn starts(lanes: __m256i) -> ([__m256i; 2], i64) {
        let ways = widen(lanes);
        let [low, high] = ways.map(|mut sums| {
            sums = _mm256_add_epi16(sums, _mm256_slli_si256::<2>(sums));
            sums = _mm256_add_epi16(sums, _mm256_slli_si256::<4>(sums));
            sums = _mm256_add_epi16(sums, _mm256_slli_si256::<8>(sums));
            // Those were the halves by themselves: the last sum of the lower one belongs to all of the upper one.
            let last = _mm256_shufflehi_epi16::<0xff>(_mm256_permute2x128_si256::<0x08>(sums, sums));
            _mm256_add_epi16(sums, _mm256_unpackhi_epi64(last, last))
        });
        let last = _mm256_permute4x64_epi64::<0xff>(_mm256_shufflehi_epi16::<0xff>(low));
        let high = _mm256_add_epi16(high, last);
        ([_mm256_sub_epi16(low, ways[0]), _mm256_sub_epi16(high, ways[1])], words(high)[3] >> 48)
    }

    /// Walks a block's streams.
    #[target_feature(enable = "avx2")]
    fn walk<const STREAM: usize>(block: &[[u8; STREAM]; BYTES]) -> Extents {
        let axis = |step: u8, direction: u8, by: u8| {
            move |nibble: u8| match (nibble & step, nibble & direction) {
                (0, _) => 0,
                (_, 0) => by,
                _ => 0_u8.wrapping_sub(by),
            }
        };
        let (x, y, z) = (table(axis(1, 2, 1)), table(axis(4, 8, 255)), axis(2, 4, 255));
        let z = table(move |high| if high < 8 { z(high) } else { 0 });
        let no_fire = table(|high| if high & 0b1001 == 1 { 0 } else { 255 });
        let origin = _mm256_set1_epi8(ORIGIN);
        let [mut at_x, mut at_y, mut at_z] = [origin; 3];
        // The start belongs to the stream before, or to the job.
        let [mut reach_x, mut reach_y, mut reach_z] = [Reach { min: origin, max: origin }; 3];
        let [mut fire_x, mut fire_y] = [Reach { min: _mm256_set1_epi8(-1), max: _mm256_setzero_si256() }; 2];
        for step in 0..STREAM / STEP {
            let rows = transposed(block, step);
            // In two goes, so that everything stays in registers.
            for &row in &rows {
                at_x = _mm256_add_epi8(at_x, _mm256_shuffle_epi8(x, row));
                at_y = _mm256_add_epi8(at_y, _mm256_shuffle_epi8(y, row));
                reach_x.include(at_x);
                reach_y.include(at_y);
                let masked = _mm256_shuffle_epi8(no_fire, high_nibbles(row));
                fire_x.include_unless(masked, at_x);
                fire_y.include_unless(masked, at_y);
            }
            for &row in &rows {
                at_z = _mm256_add_epi8(at_z, _mm256_shuffle_epi8(z, high_nibbles(row)));
                reach_z.include(at_z);
            }
        }
        let ((from_x, x), (from_y, y), (from_z, z)) = (starts(at_x), starts(at_y), starts(at_z));
        let fire = FireBox { x: fire_x.span(from_x), y: fire_y.span(from_y) };
        Extents {
            x: reach_x.span(from_x),
            y: reach_y.span(from_y),
            z: reach_z.span(from_z),
            fire: (fire.x.min <= fire.x.max).then_some(fire),
            at: Position { x, y, z },
        }
    }

    /// The next ticks of all streams, a row for each, with a byte from each stream.
    ///
    /// Streams `i` and `i + 16` share a register, as its halves. Each time that registers are interleaved byte by byte
    /// with those eight further on, the eight bits of a byte's place (four of which register, four of where in it) turn
    /// by one; after four times they have changed sides. Four registers go through two times on their own, which is
    /// what a processor has room for.
    #[target_feature(enable = "avx2")]
    fn transposed<const STREAM: usize>(block: &[[u8; STREAM]; BYTES], step: usize) -> [__m256i; STEP] {
        let part = |i: usize| &block[i].as_chunks().0[step];
        let mut rows = [_mm256_setzero_si256(); STEP];
        for (i, row) in rows.iter_mut().enumerate() {
            *row = load_two(part(i), part(i + STEP));
        }
        for _ in 0..2 {
            let before = rows;
            for i in 0..4 {
                let (one, other) = interleaved(before[i], before[i + 8]);
                let (one_on, other_on) = interleaved(before[i + 4], before[i + 12]);
                (rows[4 * i], rows[4 * i + 1]) = interleaved(one, one_on);
                (rows[4 * i + 2], rows[4 * i + 3]) = interleaved(other, other_on);
            }
        }
        rows
    }

    #[target_feature(enable = "avx2")]
    fn interleaved(one: __m256i, other: __m256i) -> (__m256i, __m256i) {
        (_mm256_unpacklo_epi8(one, other), _mm256_unpackhi_epi8(one, other))
    }

    /// Each bit of all bytes in turn is brought to where an instruction gathers the highest ones.
    #[target_feature(enable = "avx2")]
    fn planes_of(block: &[u8; BLOCK_TICKS]) -> Planes {
        let (halves, _) = block.as_chunks();
        let (mut low, mut high) = (load(&halves[0]), load(&halves[1]));
        let mut planes = [0; 8];
        for plane in planes.iter_mut().rev() {
            let [low_bits, high_bits] = [low, high].map(|half| u64::from(_mm256_movemask_epi8(half).cast_unsigned()));
            *plane = low_bits | high_bits << 32;
            (low, high) = (_mm256_add_epi8(low, low), _mm256_add_epi8(high, high));
        }
        Planes::from_bits(planes)
    }
}
