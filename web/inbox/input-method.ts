/**
 * Hides the keys that an input method handles (to choose or to drop a suggestion) from every handler of the page.
 * Chrome and Firefox mark such a keydown by `isComposing`; WebKit ends the composition first and leaves only code 229.
 */
export function ignoreInputMethodKeys(): void {
  const ignore = (event: KeyboardEvent) => {
    if (!event.isComposing && event.keyCode !== 229) return;
    event.stopImmediatePropagation();
    // In a single-line field, Enter would also submit the form.
    if (event.key === 'Enter' && event.target instanceof HTMLInputElement) event.preventDefault();
  };
  addEventListener('keydown', ignore, true);
}
