// What a person in the last row would complain about, for the slide that is showing: gives {faults: [sentence], covered: share of its 16 × 9 cells}.
() => {
  const section = Reveal.getCurrentSlide();
  const slide = section.querySelector(".slide");
  const frame = document.querySelector(".reveal .slides").getBoundingClientRect();
  const unit = frame.width / 1280;
  const faults = new Set();
  const slack = 1.5 * unit;
  const short = (text) => JSON.stringify(text.trim().replace(/\s+/g, " ").slice(0, 40));
  const named = (element) => `<${element.tagName.toLowerCase()}> ${element.tagName === "IMG" ? short(element.alt) : short(element.textContent)}`;
  const meet = (a, b) => a.left < b.right - slack && b.left < a.right - slack && a.top < b.bottom - slack && b.top < a.bottom - slack;

  // every line of text, every element; of a formula its visible halves only (KaTeX clips a copy for screen readers and oversizes its roots)
  const lines = [];
  const walker = document.createTreeWalker(slide, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (!node.data.trim() || node.parentElement.closest(".katex-mathml")) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) if (box.width > 0) lines.push({ box, node, formula: !!node.parentElement.closest(".katex") });
  }
  const elements = [...slide.querySelectorAll("*")].filter((e) => !e.closest(".katex") || e.matches(".katex .base")).filter((e) => e.getClientRects().length);
  const pictures = elements.filter((e) => e.tagName === "IMG" || e.tagName.toLowerCase() === "svg");

  const drawn = (image) => {  // object-fit: contain leaves margins that show nothing
    const box = image.getBoundingClientRect();
    if (!image.naturalWidth) return box;
    const scale = Math.min(box.width / image.naturalWidth, box.height / image.naturalHeight);
    const [w, h] = [image.naturalWidth * scale, image.naturalHeight * scale];
    return new DOMRect(box.left + (box.width - w) / 2, box.top + (box.height - h) / 2, w, h);
  };

  const outside = (box) => box.left < frame.left - slack || box.top < frame.top - slack || box.right > frame.right + slack || box.bottom > frame.bottom + slack;
  for (const element of elements) if (outside(element.getBoundingClientRect())) faults.add(`overflow: ${named(element)} leaves the slide`);
  for (const { box, node } of lines) if (outside(box)) faults.add(`overflow: the text ${short(node.data)} leaves the slide`);

  for (const element of elements) {
    const style = getComputedStyle(element);
    const cut = style.overflowX !== "visible" || style.overflowY !== "visible";
    if (cut && (element.scrollWidth > element.clientWidth + 1 || element.scrollHeight > element.clientHeight + 1)) faults.add(`clipped: ${named(element)}`);
  }

  const furniture = [document.querySelector(".slide-number"), ...document.querySelectorAll(".controls button.enabled")].filter(Boolean);
  const [number, ...arrows] = furniture.map((e) => e.getBoundingClientRect());
  for (const arrow of arrows) if (number && meet(number, arrow)) faults.add("overlap: the page number lies under an arrow");
  for (const { box, node } of lines) {
    if (furniture.some((e) => meet(box, e.getBoundingClientRect()))) faults.add(`overlap: ${short(node.data)} lies under the page number or an arrow`);
    if (pictures.some((p) => meet(box, p.getBoundingClientRect()))) faults.add(`overlap: ${short(node.data)} lies on a picture`);
  }
  const heading = slide.querySelector(":scope > h1, :scope > h2");
  if (heading) for (const element of slide.querySelectorAll(".body *:not(.katex *)"))
    if (meet(element.getBoundingClientRect(), heading.getBoundingClientRect())) faults.add(`overlap: ${named(element)} lies on the heading`);
  const blocks = (parent) => [...parent.children].filter((e) => !e.matches("aside"));
  for (const parent of [slide, ...slide.querySelectorAll(".body, .text")]) {
    const boxes = blocks(parent).map((e) => e.getBoundingClientRect());
    boxes.forEach((box, i) => { if (boxes.slice(i + 1).some((other) => meet(box, other))) faults.add(`overlap: ${named(blocks(parent)[i])}`); });
  }

  for (const image of pictures.filter((e) => e.tagName === "IMG")) {
    if (!image.complete || !image.naturalWidth) { faults.add(`missing figure: ${named(image)}`); continue; }
    const canvas = new OffscreenCanvas(96, 54).getContext("2d");
    canvas.drawImage(image, 0, 0, 96, 54);
    const seen = new Uint32Array(canvas.getImageData(0, 0, 96, 54).data.buffer);
    if (seen.every((pixel) => pixel === seen[0])) faults.add(`missing figure: ${named(image)} is blank`);
  }
  for (const element of slide.querySelectorAll(".tex")) if (!element.querySelector(".katex")) faults.add(`missing formula: ${short(element.textContent)}`);

  // a missing glyph is drawn as the font's box: the same picture as that of a code point which no font can hold
  const glyphs = (window.glyphs ??= new Map());
  const look = (font, character) => {
    const key = font + character;
    if (!glyphs.has(key)) {
      const canvas = (window.glyphCanvas ??= new OffscreenCanvas(48, 48).getContext("2d", { willReadFrequently: true }));
      canvas.clearRect(0, 0, 48, 48);
      canvas.font = font;
      canvas.fillText(character, 4, 36);
      glyphs.set(key, String.fromCharCode(...canvas.getImageData(0, 0, 48, 48).data.filter((_, i) => i % 4 === 3)));
    }
    return glyphs.get(key);
  };
  for (const { node } of lines) {
    const style = getComputedStyle(node.parentElement);
    const font = `${style.fontStyle} ${style.fontWeight} 28px ${style.fontFamily}`;
    for (const character of new Set(node.data)) {
      if (/[\s\p{Cf}]/u.test(character)) continue;
      if (look(font, character) === look(font, "\u0378")) faults.add(`missing glyph: U+${character.codePointAt(0).toString(16).toUpperCase()} in ${short(node.data)}`);
    }
  }

  const small = lines.filter(({ box, node, formula }) => !formula && parseFloat(getComputedStyle(node.parentElement).fontSize) < 15);
  for (const { node } of small) faults.add(`small print: ${short(node.data)}`);

  // covered: cells of 80 × 80 that hold text, a picture, or a tinted surface
  const covered = new Set();
  const tinted = elements.filter((e) => getComputedStyle(e).backgroundColor !== "rgba(0, 0, 0, 0)");
  for (const box of [...lines.map((line) => line.box), ...pictures.map(drawn), ...tinted.map((e) => e.getBoundingClientRect())]) {
    const at = (value, start) => (value - start) / unit / 80;
    for (let x = Math.max(0, Math.floor(at(box.left, frame.left))); x < Math.min(16, at(box.right, frame.left)); x++)
      for (let y = Math.max(0, Math.floor(at(box.top, frame.top))); y < Math.min(9, at(box.bottom, frame.top)); y++) covered.add(16 * y + x);
  }
  return { faults: [...faults], covered: covered.size / 144 };
}
