// Packed arrays and the columns made of them: the counterpart of packing.py.

const about = JSON.parse(document.getElementById("about").textContent);
const count = about.cells;
const $ = (id) => document.getElementById(id);

const arrays = new Map();

/** Promise of a packed array as a typed array; it is read once. */
function readArray(name) {
  if (!arrays.has(name)) arrays.set(name, unpack(name));
  return arrays.get(name);
}

async function unpack(name) {
  const [kind, length] = about.arrays[name];
  const element = $(`array-${name}`);
  const bytes = bytesOfBase64(element.textContent);
  element.remove(); // megabytes of text
  const inflate = new DecompressionStream("deflate-raw");
  const stream = new Blob([bytes]).stream().pipeThrough(inflate);
  const planes = new Uint8Array(await new Response(stream).arrayBuffer());
  const array = new window[kind](length);
  const size = array.BYTES_PER_ELEMENT;
  if (planes.length !== length * size) throw new Error(`Array ${name} is damaged.`);
  if (size === 1) return planes;
  const merged = new Uint8Array(array.buffer);
  for (let plane = 0; plane < size; plane++) {
    const from = plane * length;
    for (let k = 0; k < length; k++) merged[k * size + plane] = planes[from + k];
  }
  return array;
}

function bytesOfBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let k = 0; k < binary.length; k++) bytes[k] = binary.charCodeAt(k);
  return bytes;
}

// Columns --------------------------------------------------------------------------------------

const STEPS = 12; // at most so many whole numbers are shown one by one
const TRIMMED = 0.02; // of the values at either end share the end of the colour bar

/** One figure a cell. Values are codes into a list of distinct ones, or floats. */
class Column {
  constructor(described, number) {
    Object.assign(this, described);
    this.number = number;
    this.loaded = null;
  }

  load() {
    this.loaded ??= this.read();
    return this.loaded;
  }

  async read() {
    this.codes = await readArray(`column-${this.number}`);
    const values = `column-${this.number}-values`;
    this.distinct = values in about.arrays ? await readArray(values) : null;
    this.absent = this.codes.BYTES_PER_ELEMENT === 1 ? 255 : 65535;
    this.countValues();
    this.told = this.upTo[this.levels.length - 1];
    [this.min, this.max] = [this.inOrder(0), this.inOrder(this.told - 1)];
    this.low = this.inOrder(Math.floor(TRIMMED * (this.told - 1)));
    this.high = this.inOrder(Math.ceil((1 - TRIMMED) * (this.told - 1)));
    if (this.low === this.high) [this.low, this.high] = [this.min, this.max];
    this.middle = this.inOrder(this.told >> 1);
    const middle = (this.middle - this.low) / (this.high - this.low || 1);
    this.skewed = middle < 0.2 || middle > 0.8;
    const few = this.distinct && this.distinct.length <= STEPS;
    this.whole = this.distinct ? this.distinct.every(Number.isInteger) : false;
    this.kind = this.categories ? "categories" : few && this.whole ? "steps" : "continuous";
    return this;
  }

  /** `levels`: the values, ascending; `upTo`: how many cells have that or a smaller one. */
  countValues() {
    if (!this.distinct) {
      this.levels = this.codes.filter((value) => !Number.isNaN(value)).sort();
      this.upTo = Uint32Array.from(this.levels, (_, k) => k + 1);
      return;
    }
    this.levels = this.distinct;
    this.upTo = new Uint32Array(this.levels.length);
    for (const code of this.codes) if (code !== this.absent) this.upTo[code]++;
    for (let k = 1; k < this.upTo.length; k++) this.upTo[k] += this.upTo[k - 1];
  }

  /** The value at a place of the ascending order of all cells that have one. */
  inOrder(place) {
    return this.levels[lowerBound(this.levels.length, (k) => this.upTo[k] <= place)];
  }

  /** Number of cells whose value is that of a level. */
  at(level) {
    return this.upTo[level] - (level ? this.upTo[level - 1] : 0);
  }

  /** The value of a cell; NaN where there is none. */
  value(row) {
    const code = this.codes[row];
    if (!this.distinct) return code;
    return code === this.absent ? NaN : this.distinct[code];
  }

  /** Share of the cells with a smaller value, and half of those with the same. */
  rank(value) {
    const below = lowerBound(this.levels.length, (k) => this.levels[k] < value);
    const after = lowerBound(this.levels.length, (k) => this.levels[k] <= value);
    const upTo = (level) => (level ? this.upTo[level - 1] : 0);
    return (upTo(below) + upTo(after)) / 2 / this.told;
  }

  /** A function of the row that says whether its value lies between two numbers, both included. */
  within(low, high) {
    if (!this.distinct) return (row) => this.codes[row] >= low && this.codes[row] <= high;
    const codes = this.codes;
    const first = lowerBound(this.distinct.length, (k) => this.distinct[k] < low);
    const last = lowerBound(this.distinct.length, (k) => this.distinct[k] <= high);
    return (row) => codes[row] >= first && codes[row] < last;
  }

  format(value) {
    if (Number.isNaN(value)) return "not recorded";
    if (this.categories) return this.categories[value][0];
    return formatNumber(value, this.unit);
  }
}

/** A whole number with its thousands apart. */
const grouped = (number) => number.toLocaleString("en-US");

/** A number with its unit; fractions whose unit is % become percentages. */
function formatNumber(value, unit) {
  if (unit === "%") return `${(100 * value).toFixed(2)} %`;
  const digits = Number.isInteger(value) ? {} : { maximumSignificantDigits: 5 };
  const text = value.toLocaleString("en-US", digits);
  return unit ? `${text} ${unit}` : text;
}

/** The first of 0..length for which a predicate that turns false once is false. */
function lowerBound(length, smaller) {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (smaller(middle)) low = middle + 1;
    else high = middle;
  }
  return low;
}

const columns = about.columns.map((described, number) => new Column(described, number));
const columnNamed = (name) => columns.find((column) => column.name === name);
