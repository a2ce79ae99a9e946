/**
 * What the pages do beyond plain HTML: the search, copy buttons, and relative times. All text from elsewhere is
 * inserted as text, never as HTML.
 */
const root = document.documentElement.dataset.root ?? './';
/** Results below the search field of a page. */
const MAX_RESULTS = 20;
/** Suggestions below the search field in the header. */
const MAX_SUGGESTIONS = 8;

// Search -------------------------------------------------------------------------------------------------------

/** The search files that were requested, as promises by path. search-tree.ts and search-grams.ts say what is in them. */
const files = new Map();

/** Loads a file of the search folder; null if there is no such file. `reload` bypasses all caches. */
function load(path, reload = false) {
  const cached = files.get(path);
  if (cached && !reload) return cached;
  const url = new URL(`${root}search/${path}.json`, document.baseURI);
  const request = fetch(url, reload ? { cache: 'reload' } : {}).then((response) => {
    if (response.status === 404) return null;
    if (!response.ok) throw new Error(`${response.status}`);
    return response.json();
  });
  files.set(path, request);
  request.catch(() => files.delete(path));
  return request;
}

/** Loads the tree's file for a prefix. Longer prefixes are in a folder named after their first two characters. */
const loadTreeFile = (prefix, reload = false) =>
  load(prefix.length <= 2 ? prefix : `${prefix.slice(0, 2)}/${prefix}`, reload);

/** Returns the most specific tree file for names that begin with `key`; null if there is none. */
async function findTreeFile(key, reload = false) {
  let prefix = key.slice(0, 2);
  let file = await loadTreeFile(prefix, reload);
  if (file?.d) {
    // It lists all files below it, so the right one can be loaded in one step.
    const below = new Set(file.d.split(' '));
    for (let length = key.length; length > 2; length -= 1)
      if (below.has(key.slice(2, length))) {
        prefix = key.slice(0, length);
        break;
      }
    if (prefix.length > 2) file = await loadTreeFile(prefix, reload);
  }
  // The tree may have changed since that file was cached: follow new branches, or start again if one is gone.
  while (
    file &&
    key.length > file.p.length &&
    key.startsWith(file.p) &&
    file.c?.includes(key[file.p.length])
  ) {
    prefix = key.slice(0, file.p.length + 1);
    file = await loadTreeFile(prefix, reload);
  }
  if (file === null && prefix.length > 2 && !reload) return findTreeFile(key, true);
  return file;
}

/** Returns true if the name, from the start of one of its words on and without hyphens, begins with `key`. */
function hasWordPrefix(name, key) {
  for (let start = 0; ;) {
    if (name.slice(start).replaceAll('-', '').startsWith(key)) return true;
    const hyphen = name.indexOf('-', start);
    if (hyphen < 0) return false;
    start = hyphen + 1;
  }
}

/** Shorter text is not searched for in the middle of words. */
const TRIGRAM_LENGTH = 3;
/** With fewer matches, more files are read, and similar names are shown as well. */
const MIN_MATCHES = 3;
/** Limits how many trigram files are read to find similar names. */
const MAX_TRIGRAMS = 5;
/** A name with a word that begins with the query ranks as if it had been downloaded this many times as often. */
const WORD_PREFIX_WEIGHT = 10;

const withoutHyphens = (name) => name.replaceAll('-', '');

/** Returns the distinct trigrams of a text. */
const trigramsOf = (key) => [
  ...new Set(
    Array.from({ length: Math.max(0, key.length - TRIGRAM_LENGTH + 1) }, (_, i) =>
      key.slice(i, i + TRIGRAM_LENGTH),
    ),
  ),
];

/** Returns the names that contain a trigram, as rows without a description; `complete` if those are all of them. */
async function rowsWithTrigram(trigram) {
  const file = await load(`grams/${trigram.slice(0, 2)}/${trigram}`);
  const rows = (file?.r ?? []).map((row) => {
    const [name, downloads, wheels] = row.split(' ');
    return [name, Number(downloads), Number(wheels), ''];
  });
  return { rows, complete: file?.all ?? true };
}

/** Returns the rows of names that contain `key`. Reads no second file if there are `enough` matches already. */
async function findContaining(key, enough) {
  const trigrams = trigramsOf(key);
  const containsKey = ([name]) => withoutHyphens(name).includes(key);
  const first = await rowsWithTrigram(trigrams[0]);
  const matches = first.rows.filter(containsKey);
  if (first.complete || enough || matches.length >= MIN_MATCHES || trigrams.length === 1) return matches;
  return [...matches, ...(await rowsWithTrigram(trigrams.at(-1))).rows.filter(containsKey)];
}

/**
 * Returns the edit distance (wrong, missing, extra and swapped letters) between `text` and `other`, and the smallest
 * one between `text` and any prefix of `other`.
 */
function editDistances(text, other) {
  let [previous, row] = [[], Array.from({ length: other.length + 1 }, (_, i) => i)];
  for (let i = 1; i <= text.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= other.length; j += 1) {
      const substitution = text[i - 1] === other[j - 1] ? 0 : 1;
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + substitution);
      if (i > 1 && j > 1 && text[i - 1] === other[j - 2] && text[i - 2] === other[j - 1])
        next[j] = Math.min(next[j], previous[j - 2] + 1);
    }
    [previous, row] = [row, next];
  }
  return { prefix: Math.min(...row), whole: row[other.length] };
}

/** Returns the rows of names that are spelled like `key`, the most similar first. `file` is its tree file. */
async function findSimilar(key, file) {
  const maxDistance = key.length < 6 ? 1 : 2;
  const trigrams = trigramsOf(key);
  const step = Math.max(1, (trigrams.length - 1) / (MAX_TRIGRAMS - 1));
  const selected = new Set(
    Array.from({ length: Math.min(MAX_TRIGRAMS, trigrams.length) }, (_, i) => trigrams[Math.round(i * step)]),
  );
  const lists = await Promise.all([...selected].map(rowsWithTrigram));
  const rows = new Map();
  for (const row of [...(file?.r ?? []), ...(file?.t ?? []), ...lists.flatMap((list) => list.rows)])
    if (!rows.has(row[0])) rows.set(row[0], row);
  return [...rows.values()]
    .map((row) => {
      const words = row[0].split('-');
      // Text beyond the length of the key plus four can't bring a name any closer.
      const distances = words.map((_, i) =>
        editDistances(
          key,
          words
            .slice(i)
            .join('')
            .slice(0, key.length + 4),
        ),
      );
      const prefix = Math.min(...distances.map((distance) => distance.prefix));
      return { row, prefix, whole: Math.min(...distances.map((distance) => distance.whole)) };
    })
    .filter(({ prefix }) => prefix <= maxDistance)
    .sort((a, b) => a.prefix + Math.min(a.whole, 3) - b.prefix - Math.min(b.whole, 3) || b.row[1] - a.row[1])
    .map(({ row }) => row);
}

/**
 * Searches for a query. Returns rows [name, downloads, files, description], and `similarOnly` if none of them contains
 * the query. The exact name comes first, then names that contain the query, the most downloaded first.
 */
async function search(query) {
  const name = normalise(query);
  const key = withoutHyphens(name);
  if (key === '') return { rows: [], similarOnly: false };
  const file = await findTreeFile(key);
  const coversKey = file?.t && file.p.startsWith(key);
  const prefixMatches = ((coversKey ? file.t : file?.r) ?? []).filter(([rowName]) =>
    hasWordPrefix(rowName, key),
  );
  const scored = new Map(prefixMatches.map((row) => [row[0], { row, score: row[1] * WORD_PREFIX_WEIGHT }]));
  if (key.length >= TRIGRAM_LENGTH)
    for (const row of await findContaining(key, prefixMatches.length >= MIN_MATCHES))
      if (!scored.has(row[0])) scored.set(row[0], { row, score: row[1] });
  const exactness = ({ row: [rowName] }) => (rowName === name ? 2 : withoutHyphens(rowName) === key ? 1 : 0);
  const matches = [...scored.values()]
    .sort((a, b) => exactness(b) - exactness(a) || b.score - a.score)
    .map(({ row }) => row)
    .slice(0, MAX_RESULTS);
  if (matches.length >= MIN_MATCHES || key.length < TRIGRAM_LENGTH || scored.has(name))
    return { rows: matches, similarOnly: false };
  const similar = (await findSimilar(key, file))
    .filter(([rowName]) => !scored.has(rowName))
    .slice(0, MAX_RESULTS / 2);
  return { rows: [...matches, ...similar], similarOnly: matches.length === 0 };
}

/** Returns the URL of the project that Enter leads to: the one with exactly that name, or the only result. */
function directHitUrl(query, rows) {
  const name = normalise(query);
  const row = rows.find(([rowName]) => rowName === name) ?? (rows.length === 1 ? rows[0] : undefined);
  return row && projectUrl(row[0]);
}

const projectUrl = (name) => `${root}project/${encodeURIComponent(name)}/`;

/** Returns the line above the results. */
function summarise(query, { rows, similarOnly }) {
  if (rows.length === 0) return `No package name contains or resembles “${query}”.`;
  if (similarOnly) return `No package name contains “${query}”. Similar names:`;
  return rows.length === MAX_RESULTS
    ? `The first ${MAX_RESULTS} packages, ordered by downloads in the last 30 days`
    : formatQuantity(rows.length, 'package');
}

/** Normalises a name as PEP 503 does. */
const normalise = (text) =>
  text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '');

const formatCount = (n) => n.toLocaleString('en-GB');
const formatQuantity = (n, noun) => `${formatCount(n)} ${noun}${n === 1 ? '' : 's'}`;

function element(tag, properties = {}, ...children) {
  const created = document.createElement(tag);
  Object.assign(created, properties);
  created.append(...children);
  return created;
}

function resultItem([name, downloads, wheels, description]) {
  const facts = [wheels === 0 ? 'no wheels yet' : formatQuantity(wheels, 'wheel')];
  if (downloads > 0) facts.push(`${formatQuantity(downloads, 'download')}`);
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

/** Shows results below a search form while the user types. */
function attachLiveSearch(form) {
  const input = form.querySelector('input');
  const list = element('ul', { className: 'found', hidden: true });
  const status = element('p', { className: 'soft', role: 'status' });
  const results = element('div', { className: 'results' }, status, list);
  const browseSection = document.querySelector('[data-browse]');
  const isPackagesPage = document.body.classList.contains('of-packages');
  form.after(results);
  let latestSearch = 0;
  const show = async () => {
    const thisSearch = ++latestSearch;
    const query = input.value.trim();
    if (isPackagesPage)
      history.replaceState(null, '', query === '' ? location.pathname : `?q=${encodeURIComponent(query)}`);
    if (browseSection) browseSection.hidden = query !== '' && isPackagesPage;
    if (query === '') {
      list.hidden = true;
      status.textContent = '';
      return;
    }
    try {
      const result = await search(query);
      if (thisSearch !== latestSearch) return;
      list.replaceChildren(...result.rows.map(resultItem));
      list.hidden = result.rows.length === 0;
      status.textContent = summarise(query, result);
    } catch {
      if (thisSearch !== latestSearch) return;
      list.hidden = true;
      status.textContent = 'The search index could not be loaded. Try again in a moment.';
    }
  };
  input.addEventListener('input', show);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const query = input.value.trim();
    try {
      const { rows } = await search(query);
      const url = directHitUrl(query, rows) ?? (rows[0] && projectUrl(rows[0][0]));
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
    const index = links.indexOf(document.activeElement);
    if (event.key === 'ArrowDown') links[index + 1]?.focus();
    else if (event.key === 'ArrowUp') (links[index - 1] ?? input).focus();
    else if (event.key === 'Escape') input.focus();
    else return;
    event.preventDefault();
  });
  // A visitor who arrives with ?q=, or on the page for missing addresses, gets results at once.
  const queryParameter = new URLSearchParams(location.search).get('q');
  if (queryParameter !== null) input.value = queryParameter;
  if (input.value !== '') show();
  else if (document.body.classList.contains('of-lost')) suggest();
  if (isPackagesPage) input.focus();

  /** Shows the results of the first guess that has any. Single words match similar names only as a last resort. */
  async function suggest() {
    const { parts, words } = guessesFrom(location.pathname);
    const guesses = [
      ...parts.map((guess) => [guess, true]),
      ...words.map((guess) => [guess, false]),
      ...words.map((guess) => [guess, true]),
    ];
    for (const [guess, acceptsSimilar] of guesses) {
      const { rows, similarOnly } = await search(guess).catch(() => ({ rows: [], similarOnly: false }));
      if (input.value !== '') return;
      if (rows.length === 0 || (similarOnly && !acceptsSimilar)) continue;
      input.value = guess;
      await show();
      return;
    }
  }
}

/**
 * Shows suggestions below the search field in the header, following WAI-ARIA's combobox pattern: the focus stays in
 * the field, the arrow keys select, and Enter goes to the selected project, or else to the only one that is meant.
 */
function attachHeaderSearch(form) {
  const input = form.querySelector('input');
  const list = element('ul', { id: `${input.id}-list`, className: 'suggestions', hidden: true });
  list.setAttribute('role', 'listbox');
  list.setAttribute('aria-label', 'Packages');
  const status = element('p', { className: 'unseen' });
  status.setAttribute('role', 'status');
  form.append(list, status);
  const attributes = {
    ...{ role: 'combobox', 'aria-autocomplete': 'list', 'aria-haspopup': 'listbox' },
    ...{ 'aria-expanded': 'false', 'aria-controls': list.id },
  };
  for (const [name, value] of Object.entries(attributes)) input.setAttribute(name, value);
  let [latestSearch, selected] = [0, -1];

  function setOpen(isOpen) {
    list.hidden = !isOpen;
    input.setAttribute('aria-expanded', String(isOpen));
    if (!isOpen) select(-1);
  }
  function select(index) {
    const options = [...list.children];
    selected = options.length === 0 ? -1 : index;
    for (const [i, option] of options.entries()) option.setAttribute('aria-selected', String(i === selected));
    if (selected < 0) input.removeAttribute('aria-activedescendant');
    else {
      input.setAttribute('aria-activedescendant', options[selected].id);
      options[selected].scrollIntoView({ block: 'nearest' });
    }
  }
  function createOption([name, , wheels], i) {
    const facts = wheels === 0 ? 'no wheels yet' : formatQuantity(wheels, 'wheel');
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
    const thisSearch = ++latestSearch;
    const query = input.value.trim();
    const result = await search(query).catch(() => ({ rows: [], similarOnly: false }));
    if (thisSearch !== latestSearch) return;
    list.replaceChildren(...result.rows.slice(0, MAX_SUGGESTIONS).map(createOption));
    selected = -1;
    setOpen(list.children.length > 0);
    status.textContent = query === '' ? '' : summarise(query, result);
  }

  input.addEventListener('input', show);
  input.addEventListener('blur', () => setOpen(false));
  // Keeps the focus in the field.
  list.addEventListener('mousedown', (event) => event.preventDefault());
  list.addEventListener('click', (event) => {
    const href = event.target.closest('[data-href]')?.dataset.href;
    if (href) location.assign(href);
  });
  input.addEventListener('keydown', (event) => {
    const count = list.children.length;
    if (event.key === 'Escape' && !list.hidden) setOpen(false);
    else if ((event.key === 'ArrowDown' || event.key === 'ArrowUp') && count > 0) {
      if (list.hidden) setOpen(true);
      // The field itself is one more position, between the last option and the first.
      const positions = count + 1;
      select(((selected + 1 + (event.key === 'ArrowDown' ? 1 : -1) + positions) % positions) - 1);
    } else return;
    event.preventDefault();
  });
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const query = input.value.trim();
    const { rows } = await search(query).catch(() => ({ rows: [] }));
    const href = list.children[selected]?.dataset.href ?? directHitUrl(query, rows);
    if (href) location.assign(href);
    else form.submit();
  });
}

/** Guesses what a missing address was about: the parts of its path that can be names, then the words of those parts. */
function guessesFrom(path) {
  let decoded = path;
  try {
    decoded = decodeURIComponent(path);
  } catch {
    // It is not validly encoded: use it as it is.
  }
  const parts = decoded
    .split('/')
    .map((part) => normalise(part.replace(/\.(?:html?|json|whl|tar\.gz)$/, '')).slice(0, 200))
    .filter(
      (part) =>
        part !== '' && !['project', 'simple', 'p', 'json', 'packages', 'index', 'pypi'].includes(part),
    );
  const words = parts.flatMap((part) => part.split('-')).filter((word) => word.length >= TRIGRAM_LENGTH);
  return { parts: parts.slice(0, 4), words: words.slice(0, 8) };
}

for (const form of document.querySelectorAll('form.search'))
  (form.hasAttribute('data-live') ? attachLiveSearch : attachHeaderSearch)(form);

document.addEventListener('keydown', (event) => {
  const { target } = event;
  if (event.key !== '/' || event.ctrlKey || event.metaKey || event.altKey) return;
  if (target.closest?.('input, textarea, select, [contenteditable]')) return;
  event.preventDefault();
  document.querySelector('.search input')?.focus();
});

// Copy buttons -------------------------------------------------------------------------------------------------

if (navigator.clipboard)
  for (const block of document.querySelectorAll('.typed')) {
    const label = block.getAttribute('aria-label');
    const button = element('button', {
      className: 'copy',
      type: 'button',
      textContent: 'Copy',
      ariaLabel: `Copy: ${label}`,
    });
    const wrapper = element('div', { className: 'copied' });
    block.replaceWith(wrapper);
    wrapper.append(block, button);
    button.addEventListener('click', async () => {
      try {
        await navigator.clipboard.writeText(block.textContent);
        button.textContent = 'Copied';
      } catch {
        getSelection()?.selectAllChildren(block);
        button.textContent = 'Selected';
      }
      setTimeout(() => (button.textContent = 'Copy'), 2000);
    });
  }

// Relative times -----------------------------------------------------------------------------------------------

/** Units and their length in seconds. */
const UNITS = [
  ['year', 31_557_600],
  ['month', 2_629_800],
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
];
const relativeTime = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });

for (const time of document.querySelectorAll('time[datetime]')) {
  const seconds = (Date.parse(time.dateTime) - Date.now()) / 1000;
  const [unit, unitSeconds] = UNITS.find(([, length]) => Math.abs(seconds) >= length) ?? ['minute', 60];
  time.title = time.textContent;
  time.textContent =
    Math.abs(seconds) < 60 ? 'just now' : relativeTime.format(Math.round(seconds / unitSeconds), unit);
}
