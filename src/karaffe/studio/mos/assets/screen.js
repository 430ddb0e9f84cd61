"use strict";
// Says before the first picture whether this screen can show them all, one picture pixel on one device pixel.
(() => {
  const { needWidth, needHeight } = document.body.dataset;
  const ratio = window.devicePixelRatio;
  const wide = Math.round(screen.width * ratio), high = Math.round(screen.height * ratio);
  const notice = document.getElementById("screen");
  if (Math.min(screen.width, screen.height) < 500) {
    notice.textContent = "Thank you for coming. This screen is too small for the study: please use a computer.";
    document.getElementById("begin").disabled = true;
  } else if (wide < needWidth || high < needHeight) {
    notice.textContent =
      `The pictures need a screen of ${needWidth} × ${needHeight} pixels, and this one has ${wide} × ${high}. ` +
      "Thank you for coming: please use a larger screen.";
    document.getElementById("begin").disabled = true;
  }
})();
