// Light or dark: as the system has it, or as chosen here, which the browser remembers.

const KEY = 'porchlight-theme';

/** Lets a select choose; `changed` is called when the colours are others. Gives a function that applies the choice. */
export function applyTheme(select, changed) {
  select.value = localStorage.getItem(KEY) ?? 'auto';
  const apply = () => {
    if (select.value === 'auto') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = select.value;
    changed();
  };
  select.addEventListener('change', () => {
    localStorage.setItem(KEY, select.value);
    apply();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', apply);
  return apply;
}
