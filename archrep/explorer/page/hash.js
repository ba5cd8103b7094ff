// The module hash of NAS-Bench-101 (Ying et al., 2019): colour refinement with MD5 (RFC 1321).

const MD5_SHIFTS = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
const MD5_SINES = Int32Array.from({ length: 64 }, (_, k) => Math.abs(Math.sin(k + 1)) * 2 ** 32);

/** MD5 of ASCII text, in 32 hex digits. */
function md5(text) {
  const words = new Int32Array((((text.length + 8) >> 6) + 1) * 16);
  for (let k = 0; k < text.length; k++) words[k >> 2] |= text.charCodeAt(k) << ((k & 3) * 8);
  words[text.length >> 2] |= 0x80 << ((text.length & 3) * 8);
  words[words.length - 2] = text.length * 8;
  let [a0, b0, c0, d0] = [0x67452301, 0xefcdab89 | 0, 0x98badcfe | 0, 0x10325476];
  for (let block = 0; block < words.length; block += 16) {
    let [a, b, c, d] = [a0, b0, c0, d0];
    for (let k = 0; k < 64; k++) {
      const round = k >> 4;
      let mixed;
      let word;
      if (round === 0) [mixed, word] = [(b & c) | (~b & d), k];
      else if (round === 1) [mixed, word] = [(d & b) | (~d & c), (5 * k + 1) & 15];
      else if (round === 2) [mixed, word] = [b ^ c ^ d, (3 * k + 5) & 15];
      else [mixed, word] = [c ^ (b | ~d), (7 * k) & 15];
      const sum = (a + mixed + MD5_SINES[k] + words[block + word]) | 0;
      const shift = MD5_SHIFTS[round][k & 3];
      [a, d, c] = [d, c, b];
      b = (b + ((sum << shift) | (sum >>> (32 - shift)))) | 0;
    }
    a0 = (a0 + a) | 0;
    b0 = (b0 + b) | 0;
    c0 = (c0 + c) | 0;
    d0 = (d0 + d) | 0;
  }
  const bytes = new Uint8Array(Int32Array.of(a0, b0, c0, d0).buffer);
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Official key of a NAS-Bench-101 cell. */
function moduleHash(cell) {
  const nodes = cell.ops.map((_, v) => v);
  const before = nodes.map((v) => predecessors(cell, v));
  const after = nodes.map((v) => successors(cell, v));
  const label = (code) => (code === 0 ? -1 : code === operations.length - 1 ? -2 : code - 1);
  let colours = nodes.map((v) =>
    md5(`(${after[v].length}, ${before[v].length}, ${label(cell.ops[v])})`));
  for (let round = 0; round < nodes.length; round++) {
    const sorted = (others) => others.map((u) => colours[u]).sort().join("");
    colours = nodes.map((v) => md5(`${sorted(before[v])}|${sorted(after[v])}|${colours[v]}`));
  }
  return md5(`[${colours.sort().map((colour) => `'${colour}'`).join(", ")}]`);
}

const hasHash = about.space.name === "nasbench101";

/** Rows first..last-1 whose hash begins with some digits: official order is that of the hashes. */
function rowsOfHash(prefix) {
  const bound = (text) => lowerBound(count, (row) => moduleHash(cellOf(row)) < text);
  return [bound(prefix), bound(`${prefix}g`)];
}
