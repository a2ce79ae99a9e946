/**
 * What the pages do beyond what they are without it: the search, buttons that copy, and how long ago something was.
 * Text from anywhere goes into the page as text, never as HTML.
 */
const root = document.documentElement.dataset.root ?? './';
/** So many results are shown. */
const RESULTS = 20;
/** And so many below the field in the header. */
const SUGGESTIONS = 8;

// The search ---------------------------------------------------------------------------------------------------

/** The search's files that were read, by their paths; see search-tree.ts and search-grams.ts for what is in one. */
const files = new Map();

/** A file of the search's folder, or null for one that isn't there. `again`: not from what was read before. */
function load(path, again = false) {
  const known = files.get(path);
  if (known && !again) return known;
  const address = new URL(`${root}search/${path}.json`, document.baseURI);
  const asked = fetch(address, again ? { cache: 'reload' } : {}).then((response) => {
    if (response.status === 404) return null;
    if (!response.ok) throw new Error(`${response.status}`);
    return response.json();
  });
  files.set(path, asked);
  asked.catch(() => files.delete(path));
  return asked;
}

/** The tree's file of a beginning; one of more than two characters is in the folder of the first two. */
const read = (prefix, again = false) =>
  load(prefix.length <= 2 ? prefix : `${prefix.slice(0, 2)}/${prefix}`, again);

/** The file that knows most of what begins with `key`; null: nothing does. */
async function find(key, again = false) {
  let prefix = key.slice(0, 2);
  let file = await read(prefix, again);
  if (file?.d) {
    // It names all that are below it, so that the way there is one step.
    const below = new Set(file.d.split(' '));
    for (let length = key.length; length > 2; length -= 1)
      if (below.has(key.slice(2, length))) {
        prefix = key.slice(0, length);
        break;
      }
    if (prefix.length > 2) file = await read(prefix, again);
  }
  // Since then more may have branched off, or what did may have been put together again.
  while (
    file &&
    key.length > file.p.length &&
    key.startsWith(file.p) &&
    file.c?.includes(key[file.p.length])
  ) {
    prefix = key.slice(0, file.p.length + 1);
    file = await read(prefix, again);
  }
  if (file === null && prefix.length > 2 && !again) return find(key, true);
  return file;
}

/** Whether a word of the name begins so, without what stands between words. */
function begins(name, key) {
  for (let at = 0; ;) {
    if (name.slice(at).replaceAll('-', '').startsWith(key)) return true;
    const next = name.indexOf('-', at);
    if (next < 0) return false;
    at = next + 1;
  }
}

/** Less than this is not looked for in the middle of words. */
const GRAM = 3;
/** With fewer names found, more files are read, and names that are spelled a little differently are shown. */
const FEW = 3;
/** Of so many trigrams at most the names are read, to find one that is spelled differently. */
const MOST_GRAMS = 5;
/** Of two names one wins that has a word which begins so, unless the other was downloaded so many times as often. */
const START_WEIGHT = 10;

const joined = (name) => name.replaceAll('-', '');

/** The trigrams of a text, each once. */
const gramsOf = (key) => [
  ...new Set(Array.from({ length: Math.max(0, key.length - GRAM + 1) }, (_, i) => key.slice(i, i + GRAM))),
];

/** The names that have a trigram, as rows without a description; `all`: no others have it. */
async function namesWith(gram) {
  const file = await load(`grams/${gram.slice(0, 2)}/${gram}`);
  const rows = (file?.r ?? []).map((row) => {
    const [name, downloads, wheels] = row.split(' ');
    return [name, Number(downloads), Number(wheels), ''];
  });
  return { rows, all: file?.all ?? true };
}

/** The rows of names that have it anywhere. */
async function findInside(key, enough) {
  const grams = gramsOf(key);
  const has = ([name]) => joined(name).includes(key);
  const first = await namesWith(grams[0]);
  const found = first.rows.filter(has);
  if (first.all || enough || found.length >= FEW || grams.length === 1) return found;
  return [...found, ...(await namesWith(grams.at(-1))).rows.filter(has)];
}

/** How many letters are wrong, missing, too many or exchanged between a text and the nearest beginning of another. */
function mistakes(text, other) {
  let [before, row] = [[], Array.from({ length: other.length + 1 }, (_, i) => i)];
  for (let i = 1; i <= text.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= other.length; j += 1) {
      const same = text[i - 1] === other[j - 1] ? 0 : 1;
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + same);
      if (i > 1 && j > 1 && text[i - 1] === other[j - 2] && text[i - 2] === other[j - 1])
        next[j] = Math.min(next[j], before[j - 2] + 1);
    }
    [before, row] = [row, next];
  }
  return { beginning: Math.min(...row), whole: row[other.length] };
}

/** The rows of names that are spelled like it, the nearest first. `file` is the one that leads farthest towards it. */
async function findAlike(key, file) {
  const allowed = key.length < 6 ? 1 : 2;
  const grams = gramsOf(key);
  const step = Math.max(1, (grams.length - 1) / (MOST_GRAMS - 1));
  const wanted = new Set(
    Array.from({ length: Math.min(MOST_GRAMS, grams.length) }, (_, i) => grams[Math.round(i * step)]),
  );
  const lists = await Promise.all([...wanted].map(namesWith));
  const rows = new Map();
  for (const row of [...(file?.r ?? []), ...(file?.t ?? []), ...lists.flatMap((list) => list.rows)])
    if (!rows.has(row[0])) rows.set(row[0], row);
  return [...rows.values()]
    .map((row) => {
      const words = row[0].split('-');
      // What comes later is too far from it to matter.
      const all = words.map((_, i) =>
        mistakes(
          key,
          words
            .slice(i)
            .join('')
            .slice(0, key.length + 4),
        ),
      );
      const beginning = Math.min(...all.map((its) => its.beginning));
      return { row, beginning, whole: Math.min(...all.map((its) => its.whole)) };
    })
    .filter(({ beginning }) => beginning <= allowed)
    .sort(
      (a, b) =>
        a.beginning + Math.min(a.whole, 3) - b.beginning - Math.min(b.whole, 3) || b.row[1] - a.row[1],
    )
    .map(({ row }) => row);
}

/**
 * What is found: rows [name, downloads, files, description], and whether they are only spelled alike. First the very
 * name, then what begins so or has it, the most downloaded first.
 */
async function search(query) {
  const name = normalise(query);
  const key = joined(name);
  if (key === '') return { rows: [], alike: false };
  const file = await find(key);
  const whole = file?.t && file.p.startsWith(key);
  const starts = ((whole ? file.t : file?.r) ?? []).filter(([its]) => begins(its, key));
  const rows = new Map(starts.map((row) => [row[0], { row, score: row[1] * START_WEIGHT }]));
  if (key.length >= GRAM)
    for (const row of await findInside(key, starts.length >= FEW))
      if (!rows.has(row[0])) rows.set(row[0], { row, score: row[1] });
  const exact = ({ row: [its] }) => (its === name ? 2 : joined(its) === key ? 1 : 0);
  const found = [...rows.values()]
    .sort((a, b) => exact(b) - exact(a) || b.score - a.score)
    .map(({ row }) => row)
    .slice(0, RESULTS);
  if (found.length >= FEW || key.length < GRAM || rows.has(name)) return { rows: found, alike: false };
  const alike = (await findAlike(key, file)).filter(([its]) => !rows.has(its)).slice(0, RESULTS / 2);
  return { rows: [...found, ...alike], alike: found.length === 0 };
}

/** The project that Enter leads to: the one of that very name, or the only one that is found. */
function onlyOne(query, rows) {
  const name = normalise(query);
  const row = rows.find(([its]) => its === name) ?? (rows.length === 1 ? rows[0] : undefined);
  return row && projectUrl(row[0]);
}

const projectUrl = (name) => `${root}project/${encodeURIComponent(name)}/`;

/** What is said of the rows that were found. */
function summaryOf(query, { rows, alike }) {
  if (rows.length === 0) return `No name here has “${query}” in it, or is spelled like it.`;
  if (alike) return `No name here has “${query}” in it. Spelled like it:`;
  return rows.length === RESULTS
    ? `The first ${RESULTS}, those first that were downloaded most in 30 days`
    : countOf(rows.length, 'package');
}

/** As PEP 503 writes a name. */
const normalise = (text) =>
  text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '');

const grouped = (n) => n.toLocaleString('en-GB');
const countOf = (n, one) => `${grouped(n)} ${one}${n === 1 ? '' : 's'}`;

function element(kind, properties = {}, ...children) {
  const its = document.createElement(kind);
  Object.assign(its, properties);
  its.append(...children);
  return its;
}

function resultOf([name, downloads, wheels, description]) {
  const facts = [wheels === 0 ? 'no wheel yet' : countOf(wheels, 'wheel')];
  if (downloads > 0) facts.push(`${countOf(downloads, 'download')}`);
  return element(
    'li',
    {},
    element('a', {
      className: 'name',
      href: projectUrl(name),
      textContent: name,
    }),
    element('span', { className: 'soft end', textContent: facts.join(', ') }),
    element('span', { className: 'about', textContent: description }),
  );
}

/** Shows below a form what is found while it is filled in. */
function searchLive(form) {
  const input = form.querySelector('input');
  const list = element('ul', { className: 'found', hidden: true });
  const said = element('p', { className: 'soft', role: 'status' });
  const results = element('div', { className: 'results' }, said, list);
  const instead = document.querySelector('[data-browse]');
  const isPage = document.body.classList.contains('of-packages');
  form.after(results);
  let latest = 0;
  const show = async () => {
    const turn = ++latest;
    const query = input.value.trim();
    if (isPage)
      history.replaceState(null, '', query === '' ? location.pathname : `?q=${encodeURIComponent(query)}`);
    if (instead) instead.hidden = query !== '' && isPage;
    if (query === '') {
      list.hidden = true;
      said.textContent = '';
      return;
    }
    try {
      const found = await search(query);
      if (turn !== latest) return;
      list.replaceChildren(...found.rows.map(resultOf));
      list.hidden = found.rows.length === 0;
      said.textContent = summaryOf(query, found);
    } catch {
      if (turn !== latest) return;
      list.hidden = true;
      said.textContent = 'The search can’t be reached. Try again in a moment.';
    }
  };
  input.addEventListener('input', show);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const query = input.value.trim();
    try {
      const { rows } = await search(query);
      const url = onlyOne(query, rows) ?? (rows[0] && projectUrl(rows[0][0]));
      if (url) location.assign(url);
    } catch {
      show();
    }
  });
  form.addEventListener('keydown', (event) => {
    if (event.key === 'ArrowDown') {
      event.preventDefault();
      list.querySelector('a')?.focus();
    } else if (event.key === 'Escape') {
      input.value = '';
      show();
    }
  });
  list.addEventListener('keydown', (event) => {
    const links = [...list.querySelectorAll('a')];
    const at = links.indexOf(document.activeElement);
    if (event.key === 'ArrowDown') links[at + 1]?.focus();
    else if (event.key === 'ArrowUp') (links[at - 1] ?? input).focus();
    else if (event.key === 'Escape') input.focus();
    else return;
    event.preventDefault();
  });
  // Whoever comes here with a question, or to an address that leads nowhere, has it answered.
  const asked = new URLSearchParams(location.search).get('q');
  if (asked !== null) input.value = asked;
  if (input.value !== '') show();
  else if (document.body.classList.contains('of-lost')) suggest();
  if (isPage) input.focus();

  /** Shows what the first of the guesses finds that finds anything; words that are only spelled alike come last. */
  async function suggest() {
    const { parts, words } = guessesOf(location.pathname);
    const guesses = [
      ...parts.map((guess) => [guess, true]),
      ...words.map((guess) => [guess, false]),
      ...words.map((guess) => [guess, true]),
    ];
    for (const [guess, alikeToo] of guesses) {
      const { rows, alike } = await search(guess).catch(() => ({ rows: [], alike: false }));
      if (input.value !== '') return;
      if (rows.length === 0 || (alike && !alikeToo)) continue;
      input.value = guess;
      await show();
      return;
    }
  }
}

/**
 * A list of suggestions below the field in the header, as WAI-ARIA's pattern of a combobox has it: the focus stays in
 * the field, the arrows choose, Enter goes to what is chosen, or else to what the words can only mean.
 */
function searchInHeader(form) {
  const input = form.querySelector('input');
  const list = element('ul', { id: `${input.id}-list`, className: 'suggestions', hidden: true });
  list.setAttribute('role', 'listbox');
  list.setAttribute('aria-label', 'Packages');
  const said = element('p', { className: 'unseen' });
  said.setAttribute('role', 'status');
  form.append(list, said);
  const attributes = {
    ...{ role: 'combobox', 'aria-autocomplete': 'list', 'aria-haspopup': 'listbox' },
    ...{ 'aria-expanded': 'false', 'aria-controls': list.id },
  };
  for (const [name, value] of Object.entries(attributes)) input.setAttribute(name, value);
  let [latest, chosen] = [0, -1];

  function open(shown) {
    list.hidden = !shown;
    input.setAttribute('aria-expanded', String(shown));
    if (!shown) choose(-1);
  }
  function choose(place) {
    const options = [...list.children];
    chosen = options.length === 0 ? -1 : place;
    for (const [i, option] of options.entries()) option.setAttribute('aria-selected', String(i === chosen));
    if (chosen < 0) input.removeAttribute('aria-activedescendant');
    else {
      input.setAttribute('aria-activedescendant', options[chosen].id);
      options[chosen].scrollIntoView({ block: 'nearest' });
    }
  }
  function optionOf([name, , wheels], i) {
    const facts = wheels === 0 ? 'no wheel yet' : countOf(wheels, 'wheel');
    const option = element(
      'li',
      { id: `${list.id}-${i}` },
      element('b', { textContent: name }),
      ' ',
      element('span', { className: 'soft', textContent: facts }),
    );
    option.setAttribute('role', 'option');
    option.setAttribute('aria-selected', 'false');
    option.dataset.href = projectUrl(name);
    return option;
  }
  async function show() {
    const turn = ++latest;
    const query = input.value.trim();
    const found = await search(query).catch(() => ({ rows: [], alike: false }));
    if (turn !== latest) return;
    list.replaceChildren(...found.rows.slice(0, SUGGESTIONS).map(optionOf));
    chosen = -1;
    open(list.children.length > 0);
    said.textContent = query === '' ? '' : summaryOf(query, found);
  }

  input.addEventListener('input', show);
  input.addEventListener('blur', () => open(false));
  // The field keeps the focus.
  list.addEventListener('mousedown', (event) => event.preventDefault());
  list.addEventListener('click', (event) => {
    const href = event.target.closest('[data-href]')?.dataset.href;
    if (href) location.assign(href);
  });
  input.addEventListener('keydown', (event) => {
    const count = list.children.length;
    if (event.key === 'Escape' && !list.hidden) open(false);
    else if ((event.key === 'ArrowDown' || event.key === 'ArrowUp') && count > 0) {
      if (list.hidden) open(true);
      // From the last on to the field itself, and on to the first.
      const places = count + 1;
      choose(((chosen + 1 + (event.key === 'ArrowDown' ? 1 : -1) + places) % places) - 1);
    } else return;
    event.preventDefault();
  });
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const query = input.value.trim();
    const { rows } = await search(query).catch(() => ({ rows: [] }));
    const href = list.children[chosen]?.dataset.href ?? onlyOne(query, rows);
    if (href) location.assign(href);
    else form.submit();
  });
}

/** What an address that leads nowhere was probably about: its parts that can be names, then the words of these. */
function guessesOf(path) {
  let decoded = path;
  try {
    decoded = decodeURIComponent(path);
  } catch {
    // It is no proper address: as it stands.
  }
  const parts = decoded
    .split('/')
    .map((part) => normalise(part.replace(/\.(?:html?|json|whl|tar\.gz)$/, '')).slice(0, 200))
    .filter(
      (part) =>
        part !== '' && !['project', 'simple', 'p', 'json', 'packages', 'index', 'pypi'].includes(part),
    );
  const words = parts.flatMap((part) => part.split('-')).filter((word) => word.length >= GRAM);
  return { parts: parts.slice(0, 4), words: words.slice(0, 8) };
}

for (const form of document.querySelectorAll('form.search'))
  (form.hasAttribute('data-live') ? searchLive : searchInHeader)(form);

document.addEventListener('keydown', (event) => {
  const { target } = event;
  if (event.key !== '/' || event.ctrlKey || event.metaKey || event.altKey) return;
  if (target.closest?.('input, textarea, select, [contenteditable]')) return;
  event.preventDefault();
  document.querySelector('.search input')?.focus();
});

// Copying ------------------------------------------------------------------------------------------------------

if (navigator.clipboard)
  for (const typed of document.querySelectorAll('.typed')) {
    const label = typed.getAttribute('aria-label');
    const button = element('button', {
      className: 'copy',
      type: 'button',
      textContent: 'Copy',
      ariaLabel: `Copy: ${label}`,
    });
    const around = element('div', { className: 'copied' });
    typed.replaceWith(around);
    around.append(typed, button);
    button.addEventListener('click', async () => {
      try {
        await navigator.clipboard.writeText(typed.textContent);
        button.textContent = 'Copied';
      } catch {
        getSelection()?.selectAllChildren(typed);
        button.textContent = 'Selected';
      }
      setTimeout(() => (button.textContent = 'Copy'), 2000);
    });
  }

// Times --------------------------------------------------------------------------------------------------------

const UNITS = [
  ['year', 31_557_600],
  ['month', 2_629_800],
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
];
const ago = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });

for (const time of document.querySelectorAll('time[datetime]')) {
  const seconds = (Date.parse(time.dateTime) - Date.now()) / 1000;
  const [unit, length] = UNITS.find(([, its]) => Math.abs(seconds) >= its) ?? ['minute', 60];
  time.title = time.textContent;
  time.textContent = Math.abs(seconds) < 60 ? 'just now' : ago.format(Math.round(seconds / length), unit);
}
