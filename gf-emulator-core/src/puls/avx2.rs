//! The pass over a body, compiled a second time for processors with AVX2 and BMI, and chosen at run time.
//!
//! Nothing here is written for these processors: the compiler makes of the same code something 1.5 times as fast
//! (`cargo bench -p gf-emulator-tests --bench steps`).
//!
//! This module has one of the two uses of `unsafe` in the crate: calling a function that is compiled for AVX2 is unsafe,
//! because a processor without it would run into an illegal instruction. The call stands right behind the question
//! whether the processor has it.

use super::meter::Samples;
use super::{Segment, Tracer};

/// Goes through some more ticks, if this processor has what it takes. Returns whether it did.
#[cfg(target_arch = "x86_64")]
pub(super) fn trace(
    tracer: &mut Tracer,
    ticks: &[u8],
    samples: Option<&mut Samples>,
    each: &mut dyn FnMut(&Segment),
) -> bool {
    #[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
    fn compiled_for_avx2(
        tracer: &mut Tracer,
        ticks: &[u8],
        samples: Option<&mut Samples>,
        each: &mut dyn FnMut(&Segment),
    ) {
        tracer.trace_here(ticks, samples, each);
    }

    use std::arch::is_x86_feature_detected as has;
    let can = has!("avx2") && has!("bmi1") && has!("bmi2") && has!("popcnt");
    if can {
        #[allow(unsafe_code)]
        // SAFETY: the processor has what the function is compiled for, which is all that it asks for.
        unsafe {
            compiled_for_avx2(tracer, ticks, samples, each);
        }
    }
    can
}

/// Other processors have no such features to ask for.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn trace(_: &mut Tracer, _: &[u8], _: Option<&mut Samples>, _: &mut dyn FnMut(&Segment)) -> bool {
    false
}
