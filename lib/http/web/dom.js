/**
 * What the page's other modules say to the document.
 *
 * Whatever comes from the server enters as text, never as markup: a task may be called `<script>`.
 *
 * @module
 */

/**
 * The one element that a selector finds.
 *
 * @param {string} selector
 * @param {ParentNode} [root]
 * @returns {HTMLElement}
 * @throws {Error} there is none: page.html and the scripts disagree.
 */
export function find(selector, root = document) {
  const element = root.querySelector(selector);
  if (element === null) throw new Error(`page.html has no ${selector}`);
  return /** @type {HTMLElement} */ (element);
}

/**
 * Makes an HTML element.
 *
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Readonly<Record<string, string>>} attributes
 * @param {(Node | string)[]} children a string becomes text.
 * @returns {HTMLElementTagNameMap[T]}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/**
 * Makes an SVG element.
 *
 * @template {keyof SVGElementTagNameMap} T
 * @param {T} tag
 * @param {Readonly<Record<string, string | number>>} attributes
 * @param {string} [text]
 * @returns {SVGElementTagNameMap[T]}
 */
export function makeSvg(tag, attributes = {}, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  if (text !== "") element.textContent = text;
  return element;
}

/**
 * Makes a button.
 *
 * @param {string} label
 * @param {() => void} act is called at each click.
 * @param {Readonly<Record<string, string>>} [attributes]
 * @returns {HTMLButtonElement}
 */
export function makeButton(label, act, attributes = {}) {
  const button = make("button", { type: "button", ...attributes }, label);
  button.addEventListener("click", act);
  return button;
}

/**
 * A word with the colour of its priority before it.
 *
 * @param {number} priority 1 to 3.
 * @param {Node | string} text
 * @returns {HTMLElement}
 */
export function makeKey(priority, text) {
  return make("span", { class: `key p${priority}` }, text);
}

/**
 * Writes a text if it is another than what is there: an unchanged one is not laid out again, nor
 * read out by a screen reader.
 *
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Makes a parent have these children in this order, moving only those that are elsewhere, so that
 * focus and selection stay.
 *
 * @param {Element} parent
 * @param {readonly Element[]} children
 */
export function setChildren(parent, children) {
  const wanted = new Set(children);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  let place = parent.firstElementChild;
  for (const child of children) {
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
  }
}
