//! Segments as CSV.

use std::io::{self, Write};

use super::super::{Header, Segment};

pub(super) fn begin(writer: &mut dyn Write) -> io::Result<()> {
    writeln!(
        writer,
        "start_tick,ticks,start_s,duration_s,x_mm,y_mm,z_mm,to_x_mm,to_y_mm,to_z_mm,length_mm,speed_mm_s,laser,\
         fire_ticks,fire_density,power"
    )
}

pub(super) fn segment(writer: &mut dyn Write, header: &Header, segment: &Segment) -> io::Result<()> {
    let Segment { start_tick, ticks, start, end, laser, fire_ticks, power } = segment;
    write!(writer, "{start_tick},{ticks},")?;
    match header.step_frequency_hz().map(f64::from) {
        Some(hz) => write!(writer, "{:.6},{:.6},", *start_tick as f64 / hz, *ticks as f64 / hz)?,
        None => writer.write_all(b",,")?,
    }
    for at in [start, end] {
        // Five decimals: a microstep is 0.01875 mm.
        write!(writer, "{:.5},{:.5},{:.5},", header.x_mm(at.x), header.y_mm(at.y), header.z_mm(at.z))?;
    }
    write!(writer, "{:.5},", segment.length_mm(header))?;
    if let Some(speed) = segment.speed_mm_s(header) {
        write!(writer, "{speed:.3}")?;
    }
    write!(writer, ",{},{fire_ticks},{:.4},", u8::from(*laser), segment.fire_density())?;
    if let Some(power) = power {
        write!(writer, "{power}")?;
    }
    writeln!(writer)
}
